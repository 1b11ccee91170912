-- Note to which kinds entries of the inbox go, unless that has been noted before.
-- KEYS  1.. relayed:<origin> (string)
-- ARGV  1 seconds for a note  2.. kind for each
-- Returns the kind that is noted for each
-- EXPIRE comes first because Redis then refuses none of the later writes at maxmemory.
local reply = {}
for at, note in ipairs(KEYS) do
  if redis.call('EXPIRE', note, ARGV[1]) == 0 then
    redis.call('SET', note, ARGV[at + 1], 'EX', ARGV[1])
  end
  reply[at] = redis.call('GET', note)
end
return reply
