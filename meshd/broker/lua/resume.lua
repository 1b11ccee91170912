-- Go on owning a slot over a new connection: calls still under way on the old one are fenced off.
-- KEYS  1 slots (hash)  2 lease:<slot> (string)  3 claimed:<slot> (hash)  4 landing:<slot> (list)
--       5 born (string)
-- ARGV  1 slot  2 the owner's part of the token, with its dot  3 new generation
--       4 lease (milliseconds)  5 size limit (bytes; of a longer entry only the length is returned)
-- Returns {'ok', seconds, microseconds, born, entries in landing, number, entry or length, ...}
--       | {'lost', owner or ''}
--       | {'late'}: this call was overtaken by a later one of the same caller
-- The owner's part is compared and the generation only rises: the reply of an earlier resume may
-- have been lost, and an earlier resume may arrive after a later one.
local slots, lease, claimed, landing, born = unpack(KEYS)
local slot, mine, generation, lease_ms, limit = unpack(ARGV)

local owner = redis.call('HGET', slots, slot)
if not owner or string.sub(owner, 1, #mine) ~= mine then return {'lost', owner or ''} end
if tonumber(string.sub(owner, #mine + 1)) >= tonumber(generation) then return {'late'} end
local token = mine .. generation
local data_set = redis.call('GET', born) or ''
local held_entries = redis.call('HGETALL', claimed)
local landed = redis.call('LLEN', landing)

redis.call('DEL', lease)
redis.call('HSET', slots, slot, token)
redis.call('SET', lease, token, 'PX', lease_ms)

local now = redis.call('TIME')
local reply = {'ok', tonumber(now[1]), tonumber(now[2]), data_set, landed}
for i = 1, #held_entries, 2 do
  local entry = held_entries[i + 1]
  reply[#reply + 1] = tonumber(held_entries[i])
  reply[#reply + 1] = #entry <= tonumber(limit) and entry or #entry
end
return reply
