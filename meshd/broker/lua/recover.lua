-- Take a slot from an owner who let its lease lapse, and put back what lies in it, uncounted.
-- KEYS  1 queue (list)  2 landing:<slot> (list)  3 claimed:<slot> (hash)  4 slots (hash)
--       5 lease:<slot> (string)  6 about:<slot> (string)  7 stats (hash)
-- ARGV  1 slot  2 the owner token that was seen, or '-'  3 most entries to put back (0: take only)
--       4 bytes after which no further entry is put back
-- Returns {'ok', number of entries put back, number that is left}
--       | {'lost', owner or ''}: the slot has changed hands since it was seen
--       | {'held', owner of the lease, milliseconds until it lapses}
-- The owner becomes '-'. What has landed goes back first and the lowest claim number last, so that
-- the order is what it was. A slot that is '-' and empty and of which nobody says anything is
-- removed. DEL comes first because Redis then refuses none of the later writes at maxmemory.
local queue, landing, claimed, slots, lease, about, stats = unpack(KEYS)
local slot, seen, most, most_bytes = unpack(ARGV)
most, most_bytes = tonumber(most), tonumber(most_bytes)

local function refuse(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local owner = redis.call('HGET', slots, slot)
if owner ~= seen then return {'lost', owner or ''} end
local wrong = refuse(queue, 'list') or refuse(landing, 'list') or refuse(claimed, 'hash')
  or refuse(lease, 'string')
if wrong then return wrong end
local held = redis.call('GET', lease)
if held then return {'held', held, redis.call('PTTL', lease)} end
local numbers = redis.call('HKEYS', claimed)
table.sort(numbers, function(a, b) return (tonumber(a) or 0) > (tonumber(b) or 0) end)

redis.call('DEL', lease)
redis.call('HSET', slots, slot, '-')
local moved, bytes = 0, 0
local function put_back(entry)
  redis.call('RPUSH', queue, entry)
  moved, bytes = moved + 1, bytes + #entry
end
while moved < most and bytes < most_bytes do
  local entry = redis.call('LPOP', landing)
  if not entry then break end
  put_back(entry)
end
for _, number in ipairs(numbers) do
  if moved >= most or bytes >= most_bytes then break end
  local entry = redis.call('HGET', claimed, number)
  redis.call('HDEL', claimed, number)
  put_back(entry)
end

local left = redis.call('HLEN', claimed) + redis.call('LLEN', landing)
if left == 0 and seen == '-' and redis.call('EXISTS', about) == 0 then
  redis.call('HDEL', slots, slot)
end
if moved > 0 then redis.pcall('HINCRBY', stats, 'recover', moved) end
return {'ok', moved, left}
