"""How the stream queue keeps tasks: one stream a priority, one consumer group on each."""

from __future__ import annotations

from labkit.brokers.redis.queue_scripts import ADD_DUE, queue_scripts
from labkit.brokers.redis.scripts import Script

_HEAD = """
local function add(place, ...) redis.call('XADD', places[place], '*', ...) end

local function fetch(place, entry)
  local found = redis.call('XRANGE', places[place], entry, entry)[1]
  return found and found[2]
end

local function remove(worker, place, entry)
  if redis.call('XACK', places[place], 'workers', entry) == 0 then return false end
  redis.call('XDEL', places[place], entry)
  return true
end

local function take_into(worker, count, out)
  for place = 3, 1, -1 do
    if count > 0 then
      local reply = redis.call('XREADGROUP', 'GROUP', 'workers', worker,
                               'COUNT', count, 'STREAMS', places[place], '>')
      if reply then
        out[#out + 1], out[#out + 2] = place, reply[1][2]
        count = count - #reply[1][2]
      end
    end
  end
end

local function held_by(worker, most)
  local held = {}
  for place = 3, 1, -1 do
    local pending = redis.call('XPENDING', places[place], 'workers', '-', '+', most, worker)
    for _, row in ipairs(pending) do held[#held + 1] = {place, row[1]} end
  end
  return held
end

-- One that was cut off while it waited in Redis may have been given a task after its lease ended.
local function adopt(ends)
  for _, key in ipairs(places) do
    local holders = redis.call('XPENDING', key, 'workers')[4]
    if holders then
      for _, row in ipairs(holders) do redis.call('ZADD', workers, 'NX', ends, row[1]) end
    end
  end
end

local function forget(worker, now)
  for _, key in ipairs(places) do redis.call('XGROUP', 'DELCONSUMER', key, 'workers', worker) end
  redis.call('ZREM', workers, worker)
end

local function held()
  local sum = 0
  for _, key in ipairs(places) do sum = sum + redis.call('XLEN', key) end
  return sum
end

local function flying()
  local sum = 0
  for _, key in ipairs(places) do sum = sum + redis.call('XPENDING', key, 'workers')[1] end
  return sum
end

local function ready() return math.max(0, held() - flying()) end

local function empty()
  redis.call('UNLINK', workers, unpack(places))
  for _, key in ipairs(places) do
    redis.call('XGROUP', 'CREATE', key, 'workers', '0', 'MKSTREAM')
  end
end
"""

SCRIPTS = queue_scripts(_HEAD)

PUT_PLAIN = Script(
    "put",
    """
for a = 1, #ARGV, 2 do redis.call('XADD', KEYS[1], '*', 'i', ARGV[a], 'b', ARGV[a + 1]) end
return #ARGV / 2
""",
)
"""For tasks that are due now, are not unique and of one priority, in a queue without a bound."""

ACK_AND_TAKE = Script(
    "ack-and-take",
    f"""
local delayed, parked, workers = KEYS[4], KEYS[5], KEYS[7]
local now, ends, worker, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local stream, sum, acked = KEYS[tonumber(ARGV[5])], #ARGV - 5, {{}}
local all_ours = redis.call('XACK', stream, 'workers', unpack(ARGV, 6)) == sum
if all_ours then
  redis.call('XDEL', stream, unpack(ARGV, 6))
else  -- who lost a task to others lost its entry, too: what is given back becomes a new one
  for a = 1, sum do acked[a] = redis.call('XDEL', stream, ARGV[a + 5]) end
end
redis.call('ZADD', workers, 'GT', ends, worker)
local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if due and tonumber(due) <= tonumber(now) then
  local function add(place, ...) redis.call('XADD', KEYS[place], '*', ...) end
  {ADD_DUE}
end
local taken = {{}}
for place = 3, 1, -1 do
  if count > 0 then
    local reply = redis.call('XREADGROUP', 'GROUP', 'workers', worker,
                             'COUNT', count, 'STREAMS', KEYS[place], '>')
    if reply then
      taken[#taken + 1], taken[#taken + 2] = place, reply[1][2]
      count = count - #reply[1][2]
    end
  end
end
return {{all_ours and sum or acked, taken}}
""",
)
"""What a busy worker does all the time, in the least that it takes: tasks of one place, not unique,
are done, others come. XACK goes first, which Redis allows at its `maxmemory`, too."""
