-- release: gives back entries that were taken and never run, for any worker to take at once.
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer, which is the worker id, 3: what the keys of records begin with, '' if nothing was begun as it
--       was handed out; then ids
-- Answers how many were put back: not those that somebody has taken over meanwhile. The entry goes to the end of its stream
-- under a new id; as it is not bound to a record, whichever entry begins first is the live one. What `take` has begun is
-- undone: nobody has spoken as its owner.
local released = 0
for i = 4, #ARGV do
  local entry = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
    and redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if entry and entry[1] then
    local fields = entry[1][2]
    local record = ARGV[3] ~= '' and fields[3] == 'task' and ARGV[3] .. fields[4]
    if record and redis.pcall('HGET', record, 'fence') == 'R:1:' .. ARGV[i] .. ':' .. ARGV[2] then
      redis.call('HSET', record, 'fence', 'Q:0::')
      redis.call('HDEL', record, 'started_at', 'attempt', 'version')
    end
    redis.call('XADD', KEYS[1], '*', unpack(fields))
    released = released + 1
  end
  if entry then
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
return released
