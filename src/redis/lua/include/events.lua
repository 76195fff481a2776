-- events: how what tasks say gets onto the data streams of their sessions. For scripts that begin with `-- include index`
-- and `-- include events`.
-- KEYS  begin with, per task: record, data stream, session index
-- ARGV  begin with 1: TTL of a finished record (ms), 2: TTL of a data stream (ms), 3: length bound of a data stream,
--       4: PUBLISH or SPUBLISH, 5: NUMSUB or SHARDNUMSUB, 6: what the names of channels end with, 7: number of tasks
-- Events are numbered through the task, and the record keeps the highest number written: a call that is repeated after a
-- lost answer appends only what is missing. One push carries all events of the call: `<id before> <ids…>\n<event>\n…`.
-- Nobody listening, nothing is pushed: a reader subscribes first and then reads the stream.
-- What costs here is the number of redis.call, so all that can wait for the next arming of a session's TTLs does. `arm` is
-- '1' where it is due, '2' if what has expired is to be swept besides, else ''.

local record_ttl, stream_ttl, max_length, publish, task_count = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[7])
local channels = {}
for i = 1, task_count do channels[i] = KEYS[3 * i - 1] .. ARGV[6] end
-- Per task the name of its session's channel and how many listen to it.
local listeners = redis.call('PUBSUB', ARGV[5], unpack(channels))

-- Most tasks of a call have the same shape, so it is read once: arguments cost on both sides.
local shapes = {}

-- Appends the events in ARGV from `first` to `last`, and pushes them. `known` is the id of the task's last event, where its
-- owner knows that. Answers the id of the last, and true if the stream is or may be new: then it has no time to live.
local function append(task, first, last, known, arm)
  local stream = KEYS[3 * task - 1]
  local ids
  if listeners[2 * task] > 0 then
    -- As a rule the last event of the stream is the task's own, and then nothing is behind it: no event to hand over.
    local later = redis.call('XREVRANGE', stream, '+', known and '(' .. known or '-', 'COUNT', '1')
    ids = { later[1] and later[1][1] or known or '0-0' }
  end
  local id = arm == ''
    and redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', max_length, '*', 'data', ARGV[first])
  local is_new = not id
  if is_new then id = redis.call('XADD', stream, 'MAXLEN', '~', max_length, '*', 'data', ARGV[first]) end
  if ids then ids[2] = id end
  for at = first + 1, last do
    id = redis.call('XADD', stream, '*', 'data', ARGV[at])
    if ids then ids[#ids + 1] = id end
  end
  if ids then
    -- Each text in between is a copy of what is said.
    local push = first == last and ids[1] .. ' ' .. id .. '\n' .. ARGV[first]
      or table.concat(ids, ' ') .. '\n' .. table.concat(ARGV, '\n', first, last)
    redis.call(publish, channels[task], push)
  end
  return id, is_new
end

-- A record's key ends with the message id, behind the hash tag.
local function id_of(record)
  return string.match(record, '}:([^}]*)$')
end

-- What the keys of all records of the session begin with.
local function home_of(record)
  return string.match(record, '^.*}:')
end

-- Lists a task that goes on: its index may have been lost.
local function relist(index, record, now)
  if redis.call('ZADD', index, 'NX', now, id_of(record)) == 1 then count_open(index) end
end

-- What was listed for as long as a record is kept leaves the index with its record, or is looked at again as much later,
-- as is one that is on its way to another server of a Cluster.
local function sweep(index, record, now)
  local long_ago = string.format('%.0f', now - record_ttl)
  for _, oldest in ipairs(redis.call('ZRANGEBYSCORE', index, '(0', long_ago, 'LIMIT', 0, 100)) do
    if redis.pcall('EXISTS', home_of(record) .. oldest) == 0 then
      redis.call('ZREM', index, oldest)
    else
      redis.call('ZADD', index, now, oldest)
    end
  end
end

-- Gives the stream its time anew. Who is suspended will need what was said before, however long that takes; see `suspend`.
local function expire_stream(stream, index)
  local top = redis.call('ZREVRANGE', index, '0', '0', 'WITHSCORES')[2]
  if not top or tonumber(top) < tonumber(SUSPENDED) then redis.call('PEXPIRE', stream, stream_ttl) end
end
