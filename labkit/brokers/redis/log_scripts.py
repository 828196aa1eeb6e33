"""The steps on a log that nobody may see half of, as scripts."""

from __future__ import annotations

from labkit.brokers.redis.scripts import Script

APPEND = Script(
    "append",
    """
local stream, revisions = KEYS[1], KEYS[2]
local expected, timed = ARGV[1], ARGV[2] == '1'
if expected ~= '' then
  local actual = tonumber(redis.call('HGET', revisions, ARGV[3]) or '0')
  if actual ~= tonumber(expected) then return actual end
else
  redis.call('HLEN', revisions)
end
local ms, sequence = 0, 0
if timed then
  local info = redis.pcall('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local a, b = string.match(info[i + 1], '(%d+)-(%d+)')
      ms, sequence = tonumber(a), tonumber(b)
    end
  end
end
local counted, reply = {}, {}
for i = 3, #ARGV, timed and 3 or 2 do
  local key, body, id, revision = ARGV[i], ARGV[i + 1], '*', 0
  if timed then
    local wanted = tonumber(ARGV[i + 2])
    if wanted > ms then ms, sequence = wanted, 0 else sequence = sequence + 1 end
    id = string.format('%.0f-%.0f', ms, sequence)
  end
  if key == '' then
    reply[#reply + 1] = redis.call('XADD', stream, id, 'body', body)
  else
    revision = (counted[key] or tonumber(redis.call('HGET', revisions, key) or '0')) + 1
    counted[key] = revision
    reply[#reply + 1] = redis.call(
      'XADD', stream, id, 'key', key, 'revision', revision, 'body', body)
  end
  reply[#reply + 1] = revision
end
for key, revision in pairs(counted) do redis.call('HSET', revisions, key, revision) end
return reply
""",
)
"""KEYS: stream, revisions. ARGV: the expected revision or ''; '1' where ids come from the caller's
clock; of each entry key, body and (then) its milliseconds. Answers id and revision of each, or the
actual revision where another was expected."""

COMMIT = Script(
    "commit",
    """
local stream, group, member, held = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
for _, row in ipairs(redis.call('XPENDING', stream, group)[4] or {}) do
  if row[1] == member and tostring(row[2]) == held then
    redis.call('XACK', stream, group, unpack(ARGV, 4))
    return {}
  end
end
local mine, done, late = {}, {}, {}
local rows = redis.call('XPENDING', stream, group, ARGV[4], ARGV[#ARGV], #ARGV - 3, member)
for _, row in ipairs(rows) do mine[row[1]] = true end
for i = 4, #ARGV do
  local id = ARGV[i]
  if mine[id] or #redis.call('XPENDING', stream, group, id, id, 1, member) > 0 then
    done[#done + 1] = id
  else
    late[#late + 1] = id
  end
end
if #done > 0 then redis.call('XACK', stream, group, unpack(done)) end
return late
""",
)
"""ARGV: group, member, how many entries it knows to be its own (-1: it may have more), ids in
order. XACK alone would also end what another has claimed. Where the member still has as many as it
knows of, nothing was claimed. Answers those that were not this member's any more."""

TAKE = Script(
    "take over",
    """
local stream, group, member, idle = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local rows = redis.call('XCLAIM', stream, group, member, idle, unpack(ARGV, 4))
local found, taken, attempts, gone = {}, {}, {}, {}
for _, row in ipairs(rows) do
  if row and row[2] then
    found[row[1]] = true
    taken[#taken + 1] = row
    local pending = redis.call('XPENDING', stream, group, row[1], row[1], 1)
    attempts[#attempts + 1] = pending[1] and pending[1][4] or 1
  end
end
for i = 4, #ARGV do
  local id = ARGV[i]
  if not found[id] and #redis.call('XRANGE', stream, id, id) == 0 then
    redis.call('XACK', stream, group, id)
    gone[#gone + 1] = id
  end
end
return {taken, attempts, gone}
""",
)
"""ARGV: group, member, least idle time in milliseconds, ids. Answers entries, the number of
deliveries of each, and the ids whose entries somebody trimmed."""

LEAVE = Script(
    "leave",
    """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
""",
)
"""ARGV: group, member. XGROUP DELCONSUMER alone would forget what the member holds."""

STATE = Script(
    "state",
    """
local stream, group = KEYS[1], ARGV[1]
local info, first = false, redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local facts = {}
  for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
  if facts['name'] == group then info = facts end
end
if not info then return false end
local pending = redis.call('XPENDING', stream, group)
local before = {}
if pending[2] then
  before = redis.call('XREVRANGE', stream, '(' .. pending[2], '-', 'COUNT', 1)
end
local names = {}
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  for i = 1, #row, 2 do
    if row[i] == 'name' or row[i] == 'pending' then names[#names + 1] = row[i + 1] end
  end
end
local stream_info, kept, added = redis.call('XINFO', 'STREAM', stream), 0, -1
for i = 1, #stream_info, 2 do
  if stream_info[i] == 'length' then kept = stream_info[i + 1] end
  if stream_info[i] == 'entries-added' then added = stream_info[i + 1] end
end
local unread = kept == added and info['lag']
local newer = redis.call('XRANGE', stream, '(' .. info['last-delivered-id'], '+', 'COUNT', 1)
if #newer == 0 then
  unread = 0
elseif newer[1][1] == first[1][1] then
  unread = kept
end
return {info['last-delivered-id'], unread or false, pending[1],
        before[1] and before[1][1] or false, names}
""",
)
"""ARGV: group. Answers the last id delivered; entries after it (null: to be counted);
entries pending; the last entry before those (null for none); names of members and what they hold.
Redis' own lag also counts what was trimmed before the group had read it: it is taken only where
nothing was ever trimmed."""

COUNT = Script(
    "count",
    """
local rows = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#rows, #rows > 0 and rows[#rows][1] or false}
""",
)
"""ARGV: start, end, how many at most. Answers how many there are, and the last one."""

TRIM = Script(
    "trim",
    """
local stream, cut, below, force = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
if not force and first[1] then
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
    local last, group = '(' .. facts['last-delivered-id'], facts['name']
    if #redis.call('XRANGE', stream, last, cut, 'COUNT', 1) > 0 then return -1 end
    if #redis.call('XPENDING', stream, group, first[1][1], cut, 1) > 0 then return -1 end
  end
end
return redis.call('XTRIM', stream, 'MINID', below)
""",
)
"""ARGV: the last id to go, the one after it, '1' to ask nobody. Answers how many went, or -1: a
group has work there."""
