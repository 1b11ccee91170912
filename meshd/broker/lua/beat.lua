-- Renew a lease, say what its owner does, and tell him what Redis thinks he holds.
-- KEYS  1 slots (hash)  2 lease:<slot> (string)  3 claimed:<slot> (hash)  4 landing:<slot> (list)
--       5 about:<slot> (string)
-- ARGV  1 slot  2 owner token  3 lease (milliseconds)  4 about (JSON; '' = leave it as it is)
--       5 life of about (seconds)  6 channel of heartbeats  7 heartbeat (JSON; '' = not this time)
-- Returns {'ok', entries claimed, entries in landing} | {'lost', owner or ''}
-- DEL comes first because Redis then refuses none of the later writes at maxmemory.
local slots, lease, claimed, landing, about = unpack(KEYS)
local slot, token, lease_ms, said, about_s, channel, heartbeat = unpack(ARGV)

local owner = redis.call('HGET', slots, slot)
if owner ~= token then return {'lost', owner or ''} end
local held, landed = redis.call('HLEN', claimed), redis.call('LLEN', landing)

redis.call('DEL', lease)
redis.call('SET', lease, token, 'PX', lease_ms)

if said ~= '' then redis.pcall('SET', about, said, 'EX', about_s) end
if heartbeat ~= '' then redis.pcall('PUBLISH', channel, heartbeat) end
return {'ok', held, landed}
