-- Ask whether this user may do all that a claim must be able to finish once it has begun.
-- KEYS  1 queue (list)  2 claimed:<slot> (hash)  3 scheduled (zset)  4 dead (zset)  5 seq (string)
--       6 outbox (list)  7 result:<id> (string)
-- Returns '' | the command and the key that the user lacks
-- A server that cannot tell (before 7.0) is believed: there it shows at the first settlement.
if not redis.acl_check_cmd then return '' end
local queue, claimed, scheduled, dead, seq, outbox, result = unpack(KEYS)
local needed = {
  {'HDEL', claimed, '0'}, {'HSET', claimed, '0', ''}, {'RPUSH', queue, ''}, {'LPUSH', queue, ''},
  {'ZADD', scheduled, '0', ''}, {'ZADD', dead, '0', ''}, {'INCR', seq}, {'LPUSH', outbox, ''},
  {'SET', result, '', 'PX', '1'},
}
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then return command[1] .. ' ' .. command[2] end
end
return ''
