"""The scripts of both queues: each change of place is one step, so that nothing is in between.

A task is a flat list of fields: i (its id), b (its body) and, where they say something, a
(deliveries so far), u (1: the id is unique), e (errors, a JSON list). How a queue keeps those that
are ready or in flight is its own; its head defines, for a place (1, 2, 3: low, normal, high):

    add(place, ...)               put a task at the end of a place
    fetch(place, entry)           its fields; nil if it is not there
    remove(worker, place, entry)  take it out for good; false if this worker no longer has it
    take_into(worker, count, out) hand tasks to a worker: place, {{entry, fields}, ...}, place, ...
    held_by(worker, most)         what a worker has: {place, entry}
    adopt(ends)                   give a lease to those who hold tasks and have none
    forget(worker, now)           its lease has run out, and it has nothing
    held(), ready(), flying()     how many; held is all
    empty()                       all gone; leases too, where `adopt` finds whom they are of

What takes, gives back or renews begins with a command that needs no memory: Redis at its
`maxmemory` then lets the script go on, and workers can empty a queue that nobody can fill.

The rest is the same for both. A delayed task is an entry of the stream `parked` whose first field p
is its place; its due time is in the sorted set `delayed`. Dead letters are a stream, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.brokers.redis.scripts import Script

COMMON_KEYS = ("low", "normal", "high", "delayed", "parked", "ids", "workers", "dead")

_KEYS = """
local places = {KEYS[1], KEYS[2], KEYS[3]}  -- low, normal, high
local delayed, parked, ids, workers, dead = KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
"""

_TOOLS = """
local function park(place, due, ...)
  local entry = redis.call('XADD', parked, '*', 'p', place, ...)
  redis.call('ZADD', delayed, due, entry)
end

local function facts_of(entry, fields)
  local known = {a = '0', u = '0', e = '[]'}
  for f = 1, #fields, 2 do known[fields[f]] = fields[f + 1] end
  if not known.i or not known.b then  -- not ours: keep its bytes for whoever looks
    known = {a = '0', u = '0', e = '[]', i = entry, b = table.concat(fields, ' ')}
  end
  return known
end

local function bury(place, task, attempts, errors, reason, now)
  redis.call('XADD', dead, '*', 'p', place, 'i', task.i, 'b', task.b, 'a', attempts, 'u', task.u,
             'e', errors, 'r', reason, 't', now)
end
"""

_PUT = """
local most, done = tonumber(ARGV[1]), {}
for a = 2, #ARGV, 5 do
  local place, id, body = tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 2]
  local unique, due = ARGV[a + 3], ARGV[a + 4]
  if unique == '1' and redis.call('SISMEMBER', ids, id) == 1 then
    done[#done + 1] = 0
  elseif most and held() + redis.call('ZCARD', delayed) >= most then
    done[#done + 1] = -1
    return done
  else
    if unique == '1' then redis.call('SADD', ids, id) end
    if due ~= '0' then
      park(place, due, 'i', id, 'b', body, 'u', unique)
    elseif unique == '0' then
      add(place, 'i', id, 'b', body)
    else
      add(place, 'i', id, 'b', body, 'u', unique)
    end
    done[#done + 1] = 1
  end
end
return done
"""

_LET_GO_ON = """
redis.call('ZREM', workers, '')
"""

ADD_DUE = """
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)) do
  local found = redis.call('XRANGE', parked, entry, entry)[1]
  if found then
    add(tonumber(found[2][2]), unpack(found[2], 3))
    redis.call('XDEL', parked, entry)
  end
  redis.call('ZREM', delayed, entry)
end
"""

_TAKE = f"""
local now, ends, worker, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
redis.call('ZADD', workers, 'GT', ends, worker)
{ADD_DUE}
local taken = {{}}
take_into(worker, count, taken)
local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
return {{due[2] or '', taken}}
"""

_HOLDS = """
redis.call('ZADD', workers, 'GT', ARGV[2], ARGV[1])
local taken = {}
for _, item in ipairs(held_by(ARGV[1], 1000)) do
  local fields = fetch(item[1], item[2])
  if fields then taken[#taken + 1] = {item[1], item[2], fields} end
end
return taken
"""

_ACK = """
local done = {}
for a = 1, #ARGV, 4 do
  local ours = remove(ARGV[a], tonumber(ARGV[a + 1]), ARGV[a + 2])
  if ours and ARGV[a + 3] ~= '' then redis.call('SREM', ids, ARGV[a + 3]) end
  done[#done + 1] = ours and 1 or 0
end
return done
"""

_RETRY = """
local worker, place, entry = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local attempts, errors, due = ARGV[4], ARGV[5], ARGV[6]
local fields = fetch(place, entry)
if not remove(worker, place, entry) or not fields then return 0 end
local task = facts_of(entry, fields)
if due ~= '0' then
  park(place, due, 'i', task.i, 'b', task.b, 'a', attempts, 'u', task.u, 'e', errors)
else
  add(place, 'i', task.i, 'b', task.b, 'a', attempts, 'u', task.u, 'e', errors)
end
return 1
"""

_BURY = """
local worker, place, entry = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local fields = fetch(place, entry)
if not remove(worker, place, entry) or not fields then return 0 end
bury(place, facts_of(entry, fields), ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 1
"""

_RECOVER = """
local now, ends, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local rows, more = {}, 0
adopt(ends)
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now)) do
  local held = held_by(worker, 100)
  for _, item in ipairs(held) do
    local place, entry = item[1], item[2]
    local fields = fetch(place, entry)
    if remove(worker, place, entry) and fields then
      local task = facts_of(entry, fields)
      local attempts = (tonumber(task.a) or 0) + 1
      local name = string.match(worker, '^(.+)/[^/]*$') or worker
      local note = cjson.encode('worker ' .. name .. ' died with it')
      local errors = task.e == '[]' and '[' .. note .. ']'
                     or string.sub(task.e, 1, -2) .. ', ' .. note .. ']'
      local gone = most and attempts >= most
      if gone then
        local reason = 'delivered ' .. attempts .. ' times, and its worker died'
        bury(place, task, attempts, errors, reason, now)
      else
        add(place, 'i', task.i, 'b', task.b, 'a', attempts, 'u', task.u, 'e', errors)
      end
      rows[#rows + 1] = {task.i, worker, attempts, gone and 1 or 0}
    end
  end
  if #held == 0 then forget(worker, now) else more = 1 end
end
return {more, rows}
"""

_RENEW = """
return redis.call('ZADD', workers, ARGV[3], ARGV[2], ARGV[1])
"""

_DEPTH = """
return {ready(), flying(), redis.call('ZCARD', delayed), redis.call('XLEN', dead)}
"""

_REDRIVE = """
local moved = 0
for _, entry in ipairs(ARGV) do
  local found = redis.call('XRANGE', dead, entry, entry)[1]
  if found and redis.call('XDEL', dead, entry) == 1 then
    local task = facts_of(entry, found[2])
    add(tonumber(task.p) or 2, 'i', task.i, 'b', task.b, 'u', task.u)
    moved = moved + 1
  end
end
return moved
"""

_PURGE = """
local gone = held() + redis.call('ZCARD', delayed) + redis.call('XLEN', dead)
empty()
redis.call('UNLINK', delayed, parked, ids, dead)
return gone
"""


@dataclass(frozen=True, slots=True)
class QueueScripts:
    """What a queue can do, as scripts."""

    put: Script
    take: Script
    holds: Script
    ack: Script
    retry: Script
    bury: Script
    recover: Script
    renew: Script
    depth: Script
    redrive: Script
    purge: Script


def queue_scripts(head: str) -> QueueScripts:
    """The scripts for a queue that keeps its tasks as `head` says."""
    sources = {
        "put": _PUT,
        "take": _LET_GO_ON + _TAKE,
        "holds": _LET_GO_ON + _HOLDS,
        "ack": _ACK,
        "retry": _RETRY,
        "bury": _BURY,
        "recover": _LET_GO_ON + _RECOVER,
        "renew": _LET_GO_ON + _RENEW,
        "depth": _DEPTH,
        "redrive": _REDRIVE,
        "purge": _PURGE,
    }
    start = _KEYS + head + _TOOLS
    return QueueScripts(**{name: Script(name, start + text) for name, text in sources.items()})
