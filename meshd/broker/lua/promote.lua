-- Move tasks that are due from the scheduled set to their queue; urgent ones to the front.
-- KEYS  1 scheduled (zset)  2 queue (list)  3 stats (hash)
-- ARGV  1 most to move  2 length of the unique prefix
-- Returns {moved, milliseconds until the next one is due (a day at most; -1 = none is scheduled)}
local scheduled, queue, stats = unpack(KEYS)
local found = redis.call('TYPE', queue).ok
if found ~= 'list' and found ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. queue .. ' is a ' .. found .. ', not a list')
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, ARGV[1])

for _, member in ipairs(due) do
  redis.call('ZREM', scheduled, member)
  local push = string.sub(member, 1, 1) == 'u' and 'RPUSH' or 'LPUSH'
  redis.call(push, queue, string.sub(member, ARGV[2] + 1))
end

if #due > 0 then redis.pcall('HINCRBY', stats, 'promote', #due) end
local next = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
return {#due, next[2] and math.min(math.max(0, next[2] - now_ms), 86400000) or -1}
