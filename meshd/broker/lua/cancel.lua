-- Cancel a task that is scheduled, or that waits and lies near the end of its queue. What is known
-- by its id alone is cancelled by the claim script when it is claimed, and by settle when it runs.
-- KEYS  1 scheduled (zset) or queue (list)  2 cancelled (zset)  3 result:<id> (string)
--       4 stats (hash)  5 unique:<key> (string; the first key's name again when it has none)
-- ARGV  1 member of scheduled or entry  2 id  3 response  4 life of a result (milliseconds)
--       5 channel of responses
-- Returns 1 = cancelled, 0 = it is not there (any more)
-- ZREM or LREM comes first because Redis then refuses none of the later writes at maxmemory.
local place, cancelled, result, stats, unique = unpack(KEYS)
local member, id, response, result_ms, channel = unpack(ARGV)

local function refuse(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local waits = redis.call('TYPE', place).ok == 'list'
local wrong = not waits and refuse(place, 'zset') or refuse(cancelled, 'zset')
if wrong then return wrong end

local removed
if waits then
  removed = redis.call('LREM', place, -1, member)
else
  removed = redis.call('ZREM', place, member)
end
if removed == 0 then return 0 end
redis.call('SET', result, response, 'PX', result_ms)
redis.pcall('ZREM', cancelled, id)
if unique ~= place and redis.pcall('GET', unique) == id then redis.pcall('DEL', unique) end

redis.pcall('HINCRBY', stats, 'cancel', 1)
redis.pcall('PUBLISH', channel, response)
redis.pcall('PUBLISH', channel .. ':' .. id, response)
return 1
