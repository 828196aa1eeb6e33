"""How the list queue keeps tasks: lists of numbers, and hashes with what the numbers mean.

Ready tasks are in one list a priority, those of a worker in a list of its own: a number moves from
one to the other with LMOVE. Bodies and facts stay where they are, in two hashes, until the task is
done. A number is "place-count"; a task that comes back gets a new one, so that nobody can
acknowledge it by the old one.
"""

from __future__ import annotations

from labkit.brokers.redis.queue_scripts import queue_scripts

LIST_KEYS = ("bodies", "facts", "numbers", "taken:")

FORGET_AFTER_S = 3600
"""A dead worker's name is kept so long: one that was only stopped may wake up and take a task."""

_HEAD = f"""
local bodies, facts, numbers, taken_prefix = KEYS[9], KEYS[10], KEYS[11], KEYS[12]

local function add(place, ...)
  local number = place .. '-' .. redis.call('INCR', numbers)
  local fields, kept = {{...}}, {{}}
  for f = 1, #fields, 2 do
    if fields[f] == 'b' then
      redis.call('HSET', bodies, number, fields[f + 1])
    else
      kept[#kept + 1] = fields[f]
      kept[#kept + 1] = tostring(fields[f + 1])
    end
  end
  redis.call('HSET', facts, number, cjson.encode(kept))
  redis.call('LPUSH', places[place], number)
end

local function fetch(place, number)
  local body, kept = redis.call('HGET', bodies, number), redis.call('HGET', facts, number)
  if not body and not kept then return {{'a number without a task', number}} end
  local fields = cjson.decode(kept or '[]')
  fields[#fields + 1] = 'b'
  fields[#fields + 1] = body or ''
  return fields
end

local function remove(worker, place, number)
  if redis.call('LREM', taken_prefix .. worker, -1, number) == 0 then return false end
  redis.call('HDEL', bodies, number)
  redis.call('HDEL', facts, number)
  return true
end

local function take_into(worker, count, out)
  for place = 3, 1, -1 do
    local found = {{}}
    while #found < count do
      local number = redis.call('LMOVE', places[place], taken_prefix .. worker, 'RIGHT', 'LEFT')
      if not number then break end
      found[#found + 1] = {{number, fetch(place, number)}}
    end
    count = count - #found
    out[#out + 1], out[#out + 2] = place, found
  end
end

local function held_by(worker, most)
  local held = {{}}
  for _, number in ipairs(redis.call('LRANGE', taken_prefix .. worker, -most, -1)) do
    held[#held + 1] = {{tonumber(string.match(number, '^([123])-')) or 2, number}}
  end
  return held
end

local function adopt(ends) end  -- a worker's name is never forgotten while it may hold a task

local function forget(worker, now)
  local score = redis.call('ZSCORE', workers, worker)
  if tonumber(score) < tonumber(now) - {FORGET_AFTER_S} then
    redis.call('ZREM', workers, worker)
  end
end

local function held() return redis.call('HLEN', facts) end

local function ready()
  local sum = 0
  for _, key in ipairs(places) do sum = sum + redis.call('LLEN', key) end
  return sum
end

local function flying()
  local sum = 0
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    sum = sum + redis.call('LLEN', taken_prefix .. worker)
  end
  return sum
end

-- Leases stay: one that waits in BLMOVE now must be known when it dies with what it is given.
local function empty()
  redis.call('UNLINK', places[1], places[2], places[3], bodies, facts)
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    redis.call('UNLINK', taken_prefix .. worker)
  end
end
"""

SCRIPTS = queue_scripts(_HEAD)
