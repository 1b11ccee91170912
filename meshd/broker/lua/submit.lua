-- Put new tasks of one queue where their producer wants them; all of them or none.
-- KEYS  1 queue (list)  2 scheduled (zset)  3 seq (string)  4 limits (hash)
--       5 known:<id> (string; the queue's name again when the id is not guarded)
--       6 unique:<key> (string; the queue's name again when there is none)
-- ARGV  1 id of the guarded task  2 seconds for known  3 milliseconds for unique
--       4 delay (milliseconds; 0 = now)  5 'u' urgent or '-'  6.. payloads
-- Returns {'submitted', number} | {'known', id} | {'unique', id of the holder}
--       | {'full', length, max_length}
local queue, scheduled, seq, limits, known, unique = unpack(KEYS)
local id, known_s, unique_ms, delay, urgency = unpack(ARGV, 1, 5)
local first = 6
local DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'

local function refuse(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= wanted and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted)
  end
end

local function unique_prefix(urgency)
  local rest, digits = redis.call('INCR', seq), ''
  while rest > 0 do
    local digit = rest % 36
    digits = string.sub(DIGITS, digit + 1, digit + 1) .. digits
    rest = (rest - digit) / 36
  end
  return urgency .. string.rep('0', 12 - #digits) .. digits
end

local wrong = refuse(queue, 'list') or refuse(scheduled, 'zset') or refuse(seq, 'string')
local count = not wrong and redis.call('GET', seq)
if count and not (#count < 16 and string.find(count, '^%d+$')) then
  wrong = redis.error_reply('WRONGTYPE ' .. seq .. ' is not a counter')
end
if wrong then return wrong end
if known ~= queue and redis.call('EXISTS', known) == 1 then
  -- A write of this connection too: WAIT after it is about the task that is known.
  redis.call('EXPIRE', known, known_s)
  return {'known', id}
end
if unique ~= queue then
  local holder = redis.pcall('GET', unique)
  if type(holder) == 'table' and holder.err then return holder end
  if holder then return {'unique', holder} end
end
local most = redis.pcall('HGET', limits, 'max_length')
if type(most) == 'string' and tonumber(most) then
  local length = redis.call('LLEN', queue) + redis.call('ZCARD', scheduled)
  if length + #ARGV - first + 1 > tonumber(most) then return {'full', length, tonumber(most)} end
end

if delay == '0' then
  local push = urgency == 'u' and 'RPUSH' or 'LPUSH'
  for from = first, #ARGV, 1000 do
    redis.call(push, queue, unpack(ARGV, from, math.min(from + 999, #ARGV)))
  end
else
  local now = redis.call('TIME')
  local due = now[1] * 1000 + math.floor(now[2] / 1000) + delay
  for i = first, #ARGV do
    redis.call('ZADD', scheduled, due, unique_prefix(urgency) .. ARGV[i])
  end
end
if known ~= queue then redis.call('SET', known, '', 'EX', known_s) end
if unique ~= queue then redis.call('SET', unique, id, 'PX', unique_ms) end
return {'submitted', #ARGV - first + 1}
