-- Order that a task be cancelled: when it is claimed, or at once where it runs.
-- KEYS  1 cancelled (zset)  2 result:<id> (string)
-- ARGV  1 id  2 result that the caller has seen ('' = there was none)  3 life of an order
--       (milliseconds)  4 channel of orders
-- Returns '' = ordered | the result, when it is not the one that was seen: look at it first
-- ZREM comes first because Redis then refuses none of the later writes at maxmemory.
local cancelled, result = KEYS[1], KEYS[2]
local id, seen, order_ms, channel = unpack(ARGV)

local stored = redis.call('GET', result) or ''
if stored ~= seen then return stored end

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREM', cancelled, id)
redis.call('ZADD', cancelled, now_ms + order_ms, id)
redis.call('PEXPIRE', cancelled, order_ms)
redis.pcall('PUBLISH', channel, 'cancel ' .. id)
return ''
