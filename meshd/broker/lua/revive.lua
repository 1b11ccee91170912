-- Put dead letters back into the queue of their task, behind what waits there; each once.
-- KEYS  1 dead (zset)  2 queue (list)  3 stats (hash)  4 cancelled (zset)
--       then for every letter two: result:<id> (string), and unique:<key> (string; the queue's
--       name again when it has none)
-- ARGV  for every letter five: member of dead, envelope ('' = leave the entry as it is),
--         place in the member where what follows the envelope begins (from 1),
--         id of the task, milliseconds for unique
-- Returns for every letter 1 = revived, 0 = it is not there (any more), or the id of the task that
--         holds its unique key: the letter stays where it is
-- ZREM comes first because Redis then refuses none of the later writes at maxmemory.
local dead, queue, stats, cancelled = unpack(KEYS, 1, 4)

local function refuse(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local wrong = refuse(dead, 'zset') or refuse(queue, 'list')
for key = 6, #KEYS, 2 do
  wrong = wrong or (KEYS[key] ~= queue and refuse(KEYS[key], 'string'))
end
if wrong then return wrong end

local reply, revived = {}, 0
for at = 1, #ARGV, 5 do
  local member, envelope, from, id, unique_ms = unpack(ARGV, at, at + 4)
  local key = 5 + (at - 1) / 5 * 2
  local result, unique = KEYS[key], KEYS[key + 1]
  local holder = unique ~= queue and redis.call('GET', unique)
  if holder and holder ~= id and redis.call('ZSCORE', dead, member) then
    reply[#reply + 1] = holder
  else
    local removed = redis.call('ZREM', dead, member)
    if removed == 1 then
      redis.call('LPUSH', queue, envelope .. string.sub(member, from))
      redis.call('DEL', result)
      redis.pcall('ZREM', cancelled, id)
      if unique ~= queue then redis.call('SET', unique, id, 'PX', unique_ms) end
      revived = revived + 1
    end
    reply[#reply + 1] = removed
  end
end

if revived > 0 then redis.pcall('HINCRBY', stats, 'revive', revived) end
return reply
