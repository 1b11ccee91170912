-- Cancel a task that is scheduled. What waits is cancelled by the claim script, what runs by settle.
-- KEYS  1 scheduled (zset)  2 cancelled (zset)  3 result:<id> (string)  4 stats (hash)
--       5 unique:<key> (string; scheduled's name again when it has none)
-- ARGV  1 member of scheduled  2 id  3 response  4 life of a result (milliseconds)
--       5 channel of responses
-- Returns 1 = cancelled, 0 = it is not there (any more)
-- ZREM comes first because Redis then refuses none of the later writes at maxmemory.
local scheduled, cancelled, result, stats, unique = unpack(KEYS)
local member, id, response, result_ms, channel = unpack(ARGV)

local function refuse(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local wrong = refuse(scheduled, 'zset') or refuse(cancelled, 'zset')
if wrong then return wrong end

if redis.call('ZREM', scheduled, member) == 0 then return 0 end
redis.call('SET', result, response, 'PX', result_ms)
redis.pcall('ZREM', cancelled, id)
if unique ~= scheduled and redis.pcall('GET', unique) == id then redis.pcall('DEL', unique) end

redis.pcall('HINCRBY', stats, 'cancel', 1)
redis.pcall('PUBLISH', channel, response)
redis.pcall('PUBLISH', channel .. ':' .. id, response)
return 1
