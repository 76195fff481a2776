-- release: gives back entries that were taken and never run.
-- include let-go
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer, which is the worker id, 3: what the keys of records begin with, '' if nothing was begun as it
--       was handed out, 4: 1 if they are to keep their place; then ids
-- Answers how many were given back: not those that somebody has taken over meanwhile. Without a place to keep, the entry goes
-- to the end of its stream under a new id, for any worker to take at once; in place it waits for the next who looks for
-- what was let go, and was not delivered. As it is not bound to a record, whichever entry begins first is the live one. What
-- `take` has begun is undone: nobody has spoken as its owner.
-- Also in place stays what has more fields than fit on Lua's stack, some 8,000 values. What was delivered again is another
-- one's by now, who may bear the same name; a call that came late would take the entry of a running task from him.
local MOST_VALUES = 7000
local released = 0
for i = 5, #ARGV do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])[1]
  local entry = pending and pending[4] <= 1 and redis.call('XRANGE', KEYS[1], id, id)
  local fields = entry and entry[1] and entry[1][2]
  if fields then
    local record = ARGV[3] ~= '' and fields[3] == 'task' and ARGV[3] .. fields[4]
    if record and redis.pcall('HGET', record, 'fence') == 'R:1:' .. id .. ':' .. ARGV[2] then
      redis.call('HSET', record, 'fence', 'Q:0::')
      redis.call('HDEL', record, 'started_at', 'attempt', 'version')
    end
    released = released + 1
  end
  if fields and (ARGV[4] == '1' or #fields > MOST_VALUES) then
    let_go(KEYS[1], ARGV[1], ARGV[2], id, 0)
  elseif entry then
    if fields then redis.call('XADD', KEYS[1], '*', unpack(fields)) end
    redis.call('XACK', KEYS[1], ARGV[1], id)
    redis.call('XDEL', KEYS[1], id)
  end
end
return released
