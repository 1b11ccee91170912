-- Say how many workers of a kind are wanted and what a host does about it, one host after the other.
-- KEYS  1 wanted (hash)
-- ARGV  1 host  2 turn that the caller has seen; '' = it only says that it is there
--       3 what it says (JSON)  4.. hosts that are to be forgotten
-- Returns {'ok', turn}: it has been said, and with a turn seen the next one is the caller's
--       | {'late', turn}: another host has taken a turn since
-- HDEL comes first because Redis then refuses none of the later writes at maxmemory.
local wanted = KEYS[1]
local host, seen, said = unpack(ARGV)

local turn = tonumber(redis.call('HGET', wanted, 'turn')) or 0
if seen ~= '' and tonumber(seen) ~= turn then return {'late', turn} end
if seen ~= '' then turn = turn + 1 end
local now = redis.call('TIME')

redis.call('HDEL', wanted, host, unpack(ARGV, 4))
redis.call('HSET', wanted, host, now[1] .. ' ' .. said)
redis.call('HSET', wanted, 'turn', turn)
return {'ok', turn}
