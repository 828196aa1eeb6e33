"""The scripts of the stream queue. All get the same keys: see KEYS below.

An entry has the fields i (task id), b (body) and, where they say something, a (deliveries so far),
u (1: the id is unique), e (errors, a JSON list). A delayed task is an entry of the stream `parked`
whose first field p is the stream it will go to; its due time is in the sorted set `delayed`.
"""

from __future__ import annotations

from labkit.brokers.redis.scripts import Script

_HEAD = """
local streams = {KEYS[1], KEYS[2], KEYS[3]}  -- low, normal, high
local delayed, parked, ids, workers, dead = KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local function park(stream, due, ...)
  local entry = redis.call('XADD', parked, '*', 'p', stream, ...)
  redis.call('ZADD', delayed, due, entry)
end

-- True if the entry was still ours to move.
local function leave_stream(stream, entry)
  if redis.call('XACK', streams[stream], 'workers', entry) == 0 then return false end
  redis.call('XDEL', streams[stream], entry)
  return true
end

local function fields_of(entry)
  local known = {a = '0', u = '0', e = '[]'}
  for f = 1, #entry, 2 do known[entry[f]] = entry[f + 1] end
  return known
end
"""

PUT = Script(
    "put",
    _HEAD
    + """
local most, stream, id, body, unique, due = unpack(ARGV)
if unique == '1' and redis.call('SISMEMBER', ids, id) == 1 then return 0 end
if most ~= '' then
  local held = redis.call('ZCARD', delayed)
  for _, key in ipairs(streams) do held = held + redis.call('XLEN', key) end
  if held >= tonumber(most) then return -1 end
end
if unique == '1' then redis.call('SADD', ids, id) end
if tonumber(due) > 0 then
  park(stream, due, 'i', id, 'b', body, 'u', unique)
else
  redis.call('XADD', streams[tonumber(stream)], '*', 'i', id, 'b', body, 'u', unique)
end
return 1
""",
)

TAKE = Script(
    "take",
    _HEAD
    + """
local now, lease, worker, count = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
redis.call('ZADD', workers, now + lease, worker)
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)) do
  local found = redis.call('XRANGE', parked, entry, entry)[1]
  if found then
    redis.call('XADD', streams[tonumber(found[2][2])], '*', unpack(found[2], 3))
    redis.call('XDEL', parked, entry)
  end
  redis.call('ZREM', delayed, entry)
end
local taken = {}
for stream = 3, 1, -1 do
  if #taken < count then
    local reply = redis.call('XREADGROUP', 'GROUP', 'workers', worker,
                             'COUNT', count - #taken, 'STREAMS', streams[stream], '>')
    if reply then
      for _, entry in ipairs(reply[1][2]) do
        taken[#taken + 1] = {stream, entry[1], entry[2]}
      end
    end
  end
end
local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
return {due[2] or '', taken}
""",
)

ACK = Script(
    "ack",
    _HEAD
    + """
local done = {}
for a = 1, #ARGV, 3 do
  local ours = leave_stream(tonumber(ARGV[a]), ARGV[a + 1])
  if ours and ARGV[a + 2] ~= '' then redis.call('SREM', ids, ARGV[a + 2]) end
  done[#done + 1] = ours and 1 or 0
end
return done
""",
)

RETRY = Script(
    "retry",
    _HEAD
    + """
local stream, entry, unique, id, body, attempts, errors, due = unpack(ARGV)
if not leave_stream(tonumber(stream), entry) then return 0 end
local task = {'i', id, 'b', body, 'a', attempts, 'u', unique, 'e', errors}
if tonumber(due) > 0 then
  park(stream, due, unpack(task))
else
  redis.call('XADD', streams[tonumber(stream)], '*', unpack(task))
end
return 1
""",
)

BURY = Script(
    "bury",
    _HEAD
    + """
local stream, entry, unique, id, body, attempts, errors, reason, now = unpack(ARGV)
if not leave_stream(tonumber(stream), entry) then return 0 end
redis.call('XADD', dead, '*', 'p', stream, 'i', id, 'b', body, 'a', attempts, 'u', unique,
           'e', errors, 'r', reason, 't', now)
return 1
""",
)

RECOVER = Script(
    "recover",
    _HEAD
    + """
local now, most = ARGV[1], tonumber(ARGV[2])
local rows, more = {}, 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now)) do
  local left = 0
  for stream, key in ipairs(streams) do
    local pending = redis.call('XPENDING', key, 'workers', '-', '+', 100, worker)
    if #pending == 100 then left = 1 end
    for _, row in ipairs(pending) do
      local found = redis.call('XRANGE', key, row[1], row[1])[1]
      leave_stream(stream, row[1])
      if found then
        local task = fields_of(found[2])
        local attempts = tonumber(task.a) + 1
        local note = '"worker ' .. worker .. ' died with it"'
        local errors = task.e == '[]' and '[' .. note .. ']'
                       or string.sub(task.e, 1, -2) .. ', ' .. note .. ']'
        local gone = most > 0 and attempts >= most
        local kept = {'i', task.i, 'b', task.b, 'a', attempts, 'u', task.u, 'e', errors}
        if gone then
          redis.call('XADD', dead, '*', 'p', stream, 'r', 'delivered too often', 't', now,
                     unpack(kept))
        else
          redis.call('XADD', key, '*', unpack(kept))
        end
        rows[#rows + 1] = {task.i, worker, attempts, gone and 1 or 0}
      end
    end
  end
  if left == 0 then
    for _, key in ipairs(streams) do redis.call('XGROUP', 'DELCONSUMER', key, 'workers', worker) end
    redis.call('ZREM', workers, worker)
  else
    more = 1
  end
end
return {more, rows}
""",
)

DEPTH = Script(
    "depth",
    _HEAD
    + """
local held, flying = 0, 0
for _, key in ipairs(streams) do
  held = held + redis.call('XLEN', key)
  flying = flying + redis.call('XPENDING', key, 'workers')[1]
end
return {held - flying, flying, redis.call('ZCARD', delayed), redis.call('XLEN', dead)}
""",
)

REDRIVE = Script(
    "redrive",
    _HEAD
    + """
local moved = 0
for _, entry in ipairs(ARGV) do
  local found = redis.call('XRANGE', dead, entry, entry)[1]
  if found and redis.call('XDEL', dead, entry) == 1 then
    local task = fields_of(found[2])
    redis.call('XADD', streams[tonumber(task.p)], '*', 'i', task.i, 'b', task.b, 'u', task.u)
    moved = moved + 1
  end
end
return moved
""",
)

PURGE = Script(
    "purge",
    _HEAD
    + """
local gone = redis.call('ZCARD', delayed) + redis.call('XLEN', dead)
for _, key in ipairs(streams) do gone = gone + redis.call('XLEN', key) end
redis.call('DEL', unpack(KEYS))
for _, key in ipairs(streams) do redis.call('XGROUP', 'CREATE', key, 'workers', '0', 'MKSTREAM') end
return gone
""",
)
