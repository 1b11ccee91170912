-- Say that a kind exists.
-- KEYS  1 meshd:kinds (set)
-- ARGV  1 kind
-- Returns 1 = it is new, 0 = it was known
-- SREM comes first because Redis then refuses none of the later writes at maxmemory.
local known = redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[1], ARGV[1])
return 1 - known
