-- Become the owner of a slot, with everything that its last owner held.
-- KEYS  1 slots (hash)  2 lease:<slot> (string)  3 claimed:<slot> (hash)  4 landing:<slot> (list)
--       5 born (string)  6 limits (hash)
-- ARGV  1 slot  2 owner token  3 lease (milliseconds)  4 marker for a new data set
--       5 '' = wait for the lease of any other owner; '1' and the beginning of a token = an owner
--         whose token begins so is known to be dead
--       6 size limit (bytes; of a longer entry only the length is returned)
--       7 max_length ('' = none)
--       8 the caller's part of the token, with its dot  9 generation of the token
--       10.. number and entry of each claim that the caller still holds from a data set that is gone
-- Returns {'ok', seconds, microseconds, born, entries in landing, number, entry or length, ...}
--       | {'held', owner of the lease, milliseconds until it lapses}
--       | {'late'}: this call was overtaken by a later one of the same caller
local slots, lease, claimed, landing, born, limits = unpack(KEYS)
local slot, token, lease_ms, marker, known_dead, limit, max_length, mine, generation = unpack(ARGV, 1, 9)

local held = redis.call('GET', lease)
local dead = string.sub(known_dead, 2)
if held and held ~= token and (known_dead == '' or string.sub(held, 1, #dead) ~= dead) then
  return {'held', held, redis.call('PTTL', lease)}
end
local found = redis.call('TYPE', slots).ok
if found ~= 'hash' and found ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. slots .. ' is a ' .. found .. ', not a hash')
end
local owner = redis.call('HGET', slots, slot)
if owner and string.sub(owner, 1, #mine) == mine
  and tonumber(string.sub(owner, #mine + 1)) >= tonumber(generation) then
  return {'late'}
end
local held_entries = redis.call('HGETALL', claimed)
local landed = redis.call('LLEN', landing)
local data_set = redis.call('GET', born) or marker

redis.call('DEL', lease)
redis.call('HSET', slots, slot, token)
redis.call('SET', lease, token, 'PX', lease_ms)
redis.call('SETNX', born, marker)
for i = 10, #ARGV, 2 do redis.call('HSET', claimed, ARGV[i], ARGV[i + 1]) end
if max_length == '' then
  redis.pcall('HDEL', limits, 'max_length')
else
  redis.pcall('HSET', limits, 'max_length', max_length)
end

local now = redis.call('TIME')
local reply = {'ok', tonumber(now[1]), tonumber(now[2]), data_set, landed}
for i = 1, #held_entries, 2 do
  local entry = held_entries[i + 1]
  reply[#reply + 1] = tonumber(held_entries[i])
  reply[#reply + 1] = #entry <= tonumber(limit) and entry or #entry
end
return reply
