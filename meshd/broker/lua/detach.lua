-- Stop owning a slot. What is still claimed stays there, for the next owner or a supervisor.
-- KEYS  1 slots (hash)  2 lease:<slot> (string)  3 about:<slot> (string)
-- ARGV  1 slot  2 owner token  3 about (JSON; '' = leave it as it is)
--       4 life of about (seconds)
-- Returns {'ok'} | {'lost', owner or ''}
local slots, lease, about = unpack(KEYS)
local owner = redis.call('HGET', slots, ARGV[1])
if owner ~= ARGV[2] then return {'lost', owner or ''} end

redis.call('DEL', lease)
redis.call('HSET', slots, ARGV[1], '-')

if ARGV[3] ~= '' then redis.pcall('SET', about, ARGV[3], 'EX', ARGV[4]) end
return {'ok'}
