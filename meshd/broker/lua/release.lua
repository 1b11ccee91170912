-- Put unstarted entries back where they were taken from, in order, counting nothing.
-- KEYS  1 queue (list)  2 landing:<slot> (list)  3 claimed:<slot> (hash)  4 slots (hash)
--       5 stats (hash)
-- ARGV  1 slot  2 owner token  3.. claim numbers, highest first
-- Returns {'ok', number of entries put back} | {'lost', owner or ''}
-- What lies in landing goes back too: it was taken after everything that has a number.
local queue, landing, claimed, slots, stats = unpack(KEYS)
local owner = redis.call('HGET', slots, ARGV[1])
if owner ~= ARGV[2] then return {'lost', owner or ''} end

local function refuse(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local wrong = refuse(queue, 'list') or refuse(landing, 'list') or refuse(claimed, 'hash')
if wrong then return wrong end

local released = 0
while true do
  local entry = redis.call('LPOP', landing)
  if not entry then break end
  redis.call('RPUSH', queue, entry)
  released = released + 1
end
for i = 3, #ARGV do
  local entry = redis.call('HGET', claimed, ARGV[i])
  if entry then
    redis.call('HDEL', claimed, ARGV[i])
    redis.call('RPUSH', queue, entry)
    released = released + 1
  end
end

if released > 0 then redis.pcall('HINCRBY', stats, 'release', released) end
return {'ok', released}
