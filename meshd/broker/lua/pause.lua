-- Let nobody claim from a queue.
-- KEYS  1 paused (string)
-- Returns 1 = it is paused now, 0 = it was already
-- DEL comes first because Redis then refuses none of the later writes at maxmemory.
local was = redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '1')
return 1 - was
