-- Push an entry that came from another queue, once: a repeated call finds the marker.
-- KEYS  1 relayed:<origin> (string)  2 queue (list)
--       3 unique:<key> (string), when a unique lock of the other queue goes over with the entry
-- ARGV  1 life of the marker (seconds)  2 entry  3 'u' urgent or '-'
--       4 id of the task  5 milliseconds for unique
-- Returns 1 = pushed, 0 = it had been pushed before
local marker, queue, unique = unpack(KEYS)
local found = redis.call('TYPE', queue).ok
if found ~= 'list' and found ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. queue .. ' is a ' .. found .. ', not a list')
end
if redis.call('EXISTS', marker) == 1 then return 0 end

redis.call('DEL', marker) -- Redis then refuses none of the later writes at maxmemory
redis.call(ARGV[3] == 'u' and 'RPUSH' or 'LPUSH', queue, ARGV[2])
redis.call('SET', marker, '', 'EX', ARGV[1])
if unique then redis.pcall('SET', unique, ARGV[4], 'NX', 'PX', ARGV[5]) end
return 1
