-- Say that a kind has handlers for these types. The value of a type is 'kind time,kind time'.
-- KEYS  1 meshd:types (hash)
-- ARGV  1 kind  2.. types
-- Returns the number of types registered
local now = redis.call('TIME')[1]
local kind = ARGV[1]
for i = 2, #ARGV do
  local kinds = {kind .. ' ' .. now}
  for other, time in string.gmatch(redis.call('HGET', KEYS[1], ARGV[i]) or '', '(%l+) (%d+)') do
    if other ~= kind then kinds[#kinds + 1] = other .. ' ' .. time end
  end
  redis.call('HDEL', KEYS[1], ARGV[i]) -- Redis then refuses none of the later writes at maxmemory
  redis.call('HSET', KEYS[1], ARGV[i], table.concat(kinds, ','))
end
return #ARGV - 1
