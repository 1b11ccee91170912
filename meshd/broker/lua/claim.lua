-- Settle what is finished, then claim what is wanted next: one round trip for both.
-- KEYS  1 queue (list)  2 landing:<slot> (list)  3 claimed:<slot> (hash)  4 slots (hash)
--       5 scheduled (zset)  6 dead (zset)  7 seq (string)  8 stats (hash)  9 paused (string)
--       10 outbox (list)  11 cancelled (zset)
--       then for every outcome: result:<id> (string), and unique:<key> (string) if it has one
-- ARGV  1 slot  2 owner token  3 tasks wanted (1,000 or 4 MiB at most)  4 number of the first claim
--       5 size limit (bytes; a longer entry is claimed, but only its length is returned)
--       6 life of a result (milliseconds)  7 life of a dead letter (milliseconds)
--       8 channel of responses  9 length of 'result:' keys before the id
--       then for every outcome six: verb ('done' | 'retry' | 'bury' | 'cancel' | 'relay'), claim
--         number, response ('' = none), published response ('' = the same), milliseconds to keep
--         unique ('' = it has none, '0' = free it), number of arguments that follow, and these:
--         done:  tasks that the handler submitted, each as 'u' or '-' and a payload, or for another
--                kind as '>' and urgency, kind, newline, payload (for the outbox)
--         retry: delay (milliseconds; 0 = next at once), envelope ('' = leave as it is),
--                counter that it raises
--         bury:  obituary (one line with its end)
--         cancel, relay: nothing; what is relayed lies in another queue by now
-- Returns {'ok', seconds, microseconds, 1 if paused else 0, settled, orders to cancel that stand,
--         entry or length, ...}
--       | {'lost', owner or ''}
local queue, landing, claimed, slots, scheduled, dead, seq, stats, paused, outbox = unpack(KEYS, 1, 10)
local cancelled = KEYS[11]
local slot, token, wanted, number, limit = unpack(ARGV, 1, 5)
local result_ms, dead_ms, channel, id_at = unpack(ARGV, 6, 9)
wanted, number, limit = math.min(tonumber(wanted), 1000), tonumber(number), tonumber(limit)
id_at = tonumber(id_at)
local AT_ONCE_BYTES = 4 * 1024 * 1024
local VERBS = {done = true, retry = true, bury = true, cancel = true, relay = true}
local FINAL = {done = true, bury = true, cancel = true}
local MARK, DIGITS = '\031', '0123456789abcdefghijklmnopqrstuvwxyz'

local function refuse(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local function refuse_counter(key)
  local wrong = refuse(key, 'string')
  local value = not wrong and redis.call('GET', key)
  if value and not (#value < 16 and string.find(value, '^%d+$')) then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is not a counter')
  end
  return wrong
end

local owner = redis.call('HGET', slots, slot)
if owner ~= token then return {'lost', owner or ''} end
local wrong = refuse(queue, 'list') or refuse(landing, 'list') or refuse(claimed, 'hash')
  or refuse(scheduled, 'zset') or refuse(dead, 'zset') or refuse(outbox, 'list')
  or refuse(cancelled, 'zset') or refuse_counter(seq)
if wrong then return wrong end

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local function payload_of(entry)
  if string.sub(entry, 1, 1) ~= MARK then return entry end
  return string.sub(entry, (string.find(entry, '\n', 1, true) or 0) + 1)
end

local function unique_prefix()
  local rest, digits = redis.call('INCR', seq), ''
  while rest > 0 do
    local digit = rest % 36
    digits = string.sub(DIGITS, digit + 1, digit + 1) .. digits
    rest = (rest - digit) / 36
  end
  return '-' .. string.rep('0', 12 - #digits) .. digits
end

local function put_back(entry, delay, envelope)
  if envelope ~= '' then entry = envelope .. payload_of(entry) end
  if delay == '0' then
    redis.call('RPUSH', queue, entry)
  else
    redis.call('ZADD', scheduled, now_ms + delay, unique_prefix() .. entry)
  end
end

local function submit(urgency, payload, origin)
  if urgency == '>' then
    redis.call('LPUSH', outbox, origin .. '\n' .. payload)
  else
    redis.call(urgency == 'u' and 'RPUSH' or 'LPUSH', queue, payload)
  end
end

local orders = redis.call('ZCARD', cancelled)
local counts, published, settled = {}, {}, 0
local key, at = 12, 10
while at <= #ARGV do
  local verb, n, response, public, unique_ms, extra = unpack(ARGV, at, at + 5)
  if not VERBS[verb] then return redis.error_reply('ERR no such verb: ' .. tostring(verb)) end
  local more = at + 6
  at = more + extra
  local result = KEYS[key]
  local unique = unique_ms ~= '' and KEYS[key + 1]
  key = key + (unique and 2 or 1)
  local entry = verb ~= 'done' and redis.call('HGET', claimed, n)
  if redis.call('HDEL', claimed, n) == 1 then
    settled = settled + 1
    local counter, life = verb, result_ms
    if verb == 'done' then
      for i = more, at - 1, 2 do submit(ARGV[i], ARGV[i + 1], slot .. ':' .. n .. ':' .. i - more) end
    elseif verb == 'retry' then
      put_back(entry, ARGV[more], ARGV[more + 1])
      counter = ARGV[more + 2]
      life = string.format('%d', result_ms + ARGV[more])
    elseif verb == 'bury' then
      redis.call('ZADD', dead, now_ms, unique_prefix() .. ARGV[more] .. entry)
    end
    local id = string.sub(result, id_at + 1)
    if response ~= '' then
      redis.call('SET', result, response, 'PX', life)
      published[#published + 1] = public ~= '' and public or response
      published[#published + 1] = id
    end
    if unique and redis.pcall('GET', unique) == id then
      if unique_ms == '0' then
        redis.call('DEL', unique)
      else
        redis.call('PEXPIRE', unique, unique_ms)
      end
    end
    if orders > 0 and FINAL[verb] then redis.pcall('ZREM', cancelled, id) end
    counts[counter] = (counts[counter] or 0) + 1
  end
end

if orders > 0 then
  redis.pcall('ZREMRANGEBYSCORE', cancelled, '-inf', now_ms)
  orders = redis.call('ZCARD', cancelled)
end
local is_paused = redis.call('EXISTS', paused)
local reply = {'ok', tonumber(now[1]), tonumber(now[2]), is_paused, settled, orders}
local fields, source, bytes = {}, landing, 0
while wanted > 0 and bytes < AT_ONCE_BYTES and is_paused == 0 do
  local entry = redis.call('RPOP', source)
  if entry then
    fields[#fields + 1] = string.format('%d', number)
    fields[#fields + 1] = entry
    reply[#reply + 1] = #entry <= limit and entry or #entry
    bytes = bytes + math.min(#entry, limit)
    number, wanted = number + 1, wanted - 1
  elseif source == landing then
    source = queue
  else
    break
  end
end
if fields[1] then redis.call('HSET', claimed, unpack(fields)) end

if counts.bury then redis.pcall('ZREMRANGEBYSCORE', dead, '-inf', '(' .. now_ms - dead_ms) end
for counter, count in pairs(counts) do redis.pcall('HINCRBY', stats, counter, count) end
for i = 1, #published, 2 do
  redis.pcall('PUBLISH', channel, published[i])
  redis.pcall('PUBLISH', channel .. ':' .. published[i + 1], published[i])
end
return reply
