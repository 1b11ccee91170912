-- Read dead letters or scheduled tasks in the order of their times, but not many bytes at once.
-- KEYS  1 dead or scheduled (zset)
-- ARGV  1 'ZRANGEBYSCORE' or 'ZREVRANGEBYSCORE'  2 first score  3 last score  4 members to skip
--       5 members at most  6 bytes: whichever member reaches them is the last
-- Returns {member, score, ...}; nothing when there are no more
local command, first, last, skip, most, bytes = unpack(ARGV)
local reply, size = {}, 0
for at = tonumber(skip), skip + most - 1 do
  local found = redis.call(command, KEYS[1], first, last, 'WITHSCORES', 'LIMIT', at, 1)
  if not found[1] then break end
  reply[#reply + 1], reply[#reply + 2] = found[1], found[2]
  size = size + #found[1]
  if size >= tonumber(bytes) then break end
end
return reply
