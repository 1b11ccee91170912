-- Look at the entry that is claimed next, unless it is long.
-- KEYS  1 queue (list)
-- ARGV  1 size limit (bytes; of a longer entry only the length is returned)
-- Returns the entry, or its length, or nil = nothing waits
local entry = redis.call('LRANGE', KEYS[1], -1, -1)[1]
if not entry then return false end
return #entry > tonumber(ARGV[1]) and #entry or entry
