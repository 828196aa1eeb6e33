"""How the stream queue keeps tasks: one stream a priority, one consumer group on each."""

from __future__ import annotations

from labkit.brokers.redis.queue_scripts import queue_scripts

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
    if #out < count then
      local reply = redis.call('XREADGROUP', 'GROUP', 'workers', worker,
                               'COUNT', count - #out, 'STREAMS', places[place], '>')
      if reply then
        for _, entry in ipairs(reply[1][2]) do out[#out + 1] = {place, entry[1], entry[2]} end
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
