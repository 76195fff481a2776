-- index: a session's index of its tasks. For scripts that begin with `-- include index`.

-- The score of a task that has its end is the time (ms) until which its record is kept. One that has none is OPEN, which is
-- above all points in time, and so long the index has no time to live: `commit` gives it one with the last end. SUSPENDED
-- is who is suspended, or was: so long the session's data stream has none either.
local OPEN, SUSPENDED = '1e15', '2e15'

local function enlist(index, score, message_id)
  redis.call('ZADD', index, score, message_id)
  redis.call('PERSIST', index)
end
