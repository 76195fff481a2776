-- commit: appends events of a task to its session's data stream and, where asked, ends or parks the task.
-- include answers
-- include clock
-- include index
-- KEYS  per task: record, data stream, session index; then the control streams that ends ack
-- ARGV  1: TTL of a finished record (ms), 2: TTL of a data stream (ms), 3: length bound of a data stream,
--       4: PUBLISH or SPUBLISH, 5: NUMSUB or SHARDNUMSUB, 6: what the names of channels end with, 7: number of tasks,
--       8: consumer group; then per task: fence, shape, the events, the fields, and if the shape says so the emitter's sum
--       and the id of the task's last event
-- A shape is `<first>:<last>:<events>:<to>:<fields>:<sum>:<arm>:<known>:<ack>`: numbers of the first event (0: whatever
-- comes next) and of the last, count of events, the letter to go over to or '', count of the names and values of further fields, 1 if there is a sum (else it
-- is kept as it is) or '', '' or 1 or 2: the session's TTLs are to be re-armed, and what has expired is to be swept
-- besides, 1 if the id of the last event is known or '', and 0 or which of the control streams holds the entry of the fence.
-- Most tasks of a call have the same shape, so it is read once: arguments cost on both sides.
-- Answers per task the id of the last event written ('' if there was none), 1 if that was the task's last word and nobody has
-- to be told of it, 2 if its entry has been acked and deleted besides, or {fence that holds} if that is not the
-- one given, or {fence, cancel} if the task must not end as it would because it is cancelled; nothing was written then.
-- Or {'+', id of the last event, who must be told (see `reply`)...} for the end of a task for which others wait.
-- The fence is a compare-and-set: the owner of an attempt gives his, and whoever ends a task that nobody owns gives the
-- one he read. C, F, X or E as the letter to go over to is an end; with T the attempt failed and the next one is due
-- after as many ms as its first field, `due_at`, says. A cancelled task goes over to X and nothing else.
-- Who ends a task from outside (with the number 0) may leave an entry of it on a control stream, and that must not meet
-- a record that is gone, or the task would run. So the record gets its time to live only when the entry has been seen
-- off, by `begin` or `retire`; `keep_ms` says how long it is.
-- Events are numbered through the task, and the record keeps the highest number written: a call that is repeated after
-- a lost answer appends only what is missing. One push carries all events of the call: `<id before> <ids…>\n<event>\n…`.
-- Nobody listening, nothing is pushed: a reader subscribes first and then reads the stream.
-- What costs here is the number of redis.call, so all that can wait for the next re-arming does.
-- Asked for where it is needed: most of what is said needs none.
local now
-- True if an entry of the task may lie on a control stream or be with a worker. With the entry in the fence the task was
-- handed over to the lane of another version; one for a single worker waits on the agenda then.
local function awaits_entry(record, fence)
  if string.find(fence, '^Q:%d+::$') or string.sub(fence, 1, 1) == 'R' then return true end
  return string.find(fence, '^Q:') and not redis.call('HGET', record, 'lane')
end
-- A record's key ends with the message id, behind the hash tag.
local function id_of(record)
  return string.match(record, '}:([^}]*)$')
end
-- A new stream takes 4 KB, whatever is in it. A copy takes what is in it, and the next new stream gets those 4 KB: a session
-- of one short task, which is what many are, takes a third, and all stay in the caches. A server that knows no COPY or
-- forbids it does without.
local MOST_COMPACTED = 16
local function compact(stream)
  local copy = stream .. ':copy'
  if redis.pcall('COPY', stream, copy) == 1 and redis.pcall('RENAME', copy, stream).err then redis.call('DEL', copy) end
end
local record_ttl, stream_ttl, max_length, publish = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- What the keys of all records of the session begin with.
local function home_of(record)
  return string.match(record, '^.*}:')
end
-- Takes an end off the count of the index, and answers true if it was the last. An index that is gone, or was made anew
-- since, counts none. The workers of a fleet keep their records equally long; who ends a task from outside need not know
-- how long that is.
local function strike(index, record, outside)
  local open = redis.call('ZINCRBY', index, '1', '')
  if string.sub(open, 1, 1) == '-' then return false end
  if open ~= '0' then redis.call('ZADD', index, '0', '', now, id_of(record)) end
  local longest = tonumber(record_ttl)
  if outside then
    for _, other in ipairs(redis.call('ZREVRANGEBYSCORE', index, '+inf', '(0', 'LIMIT', 0, 100)) do
      longest = math.max(longest, redis.call('PTTL', home_of(record) .. other))
    end
  end
  redis.call('PEXPIRE', index, string.format('%.0f', longest))
  return true
end
local function has_suspended(index)
  local top = redis.call('ZREVRANGE', index, '0', '0', 'WITHSCORES')[2]
  return top and tonumber(top) >= tonumber(SUSPENDED)
end
-- What was listed for as long as a record is kept leaves the index with its record, or is looked at again as much later.
local function sweep(index, record)
  local long_ago = string.format('%.0f', now - record_ttl)
  for _, oldest in ipairs(redis.call('ZRANGEBYSCORE', index, '(0', long_ago, 'LIMIT', 0, 100)) do
    if redis.call('EXISTS', home_of(record) .. oldest) == 0 then
      redis.call('ZREM', index, oldest)
    else
      redis.call('ZADD', index, now, oldest)
    end
  end
end
local channels = {}
local count_of_tasks = tonumber(ARGV[7])
for i = 1, count_of_tasks do channels[i] = KEYS[3 * i - 1] .. ARGV[6] end
-- Per task the name of its session's channel and how many listen to it.
local listeners = redis.call('PUBSUB', ARGV[5], unpack(channels))
local shapes = {}
local function shape_of(text)
  local first, last, events, letter, fields, sum, arm, known, ack =
    string.match(text, '^(%d+):(%d+):(%d+):(%u?):(%d+):(1?):([12]?):(1?):(%d+)$')
  local shape = { first = tonumber(first), last = last, events = tonumber(events), letter = letter,
    fields = tonumber(fields), has_sum = sum ~= '', arm = arm, has_known = known ~= '',
    is_end = letter ~= '' and letter ~= 'T', ack = tonumber(ack) }
  shapes[text] = shape
  return shape
end
local at = 9
local out, acks = {}, {}
for i = 1, count_of_tasks do
  local record, stream, index = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local fence = ARGV[at]
  local shape = shapes[ARGV[at + 1]] or shape_of(ARGV[at + 1])
  local first, count, letter, fields, arm = shape.first, shape.events, shape.letter, shape.fields, shape.arm
  local is_end = shape.is_end
  if letter ~= '' or arm ~= '' then now = now or clock() end
  local events_at = at + 2
  local fields_at = events_at + count
  at = fields_at + fields
  local sum
  if shape.has_sum then
    sum = ARGV[at]
    at = at + 1
  end
  local known
  if shape.has_known then
    known = ARGV[at]
    at = at + 1
  end
  local was_suspended = false
  local ending = ''
  if letter == 'T' then
    ending = string.gsub(fence, '^.(:%d+:[^:]*:).*$', 'T%1')
  elseif letter ~= '' then
    ending = letter .. string.sub(fence, 2)
  end
  local held = letter == '' and redis.call('HMGET', record, 'fence', 'written')
    or redis.call('HMGET', record, 'fence', 'written', 'cancel', 'journal', 'reply_to')
  if held[1] ~= fence then
    -- The answer to an end may have been lost: those who wait are told again.
    local is_repeated = held[5] and is_end and held[1] == ending
    out[i] = is_repeated and reply(held[5], { '+', '' }, outcome(record)) or { held[1] or '' }
  elseif held[3] and ending ~= '' and letter ~= 'X' then
    out[i] = { fence, held[3] }
  else
    local written = tonumber(held[2] or '0')
    local outside = first == 0
    if outside then first = written + 1 end
    local last = first + count - 1
    local last_text = outside and string.format('%.0f', last) or shape.last
    local id = ''
    if last > written then
      local from = math.max(first, written + 1)
      local ids
      if listeners[2 * i] > 0 then
        -- As a rule the last event of the stream is the task's own, and then nothing is behind it: no event to hand over.
        local later = redis.call('XREVRANGE', stream, '+', known and '(' .. known or '-', 'COUNT', '1')
        ids = { later[1] and later[1][1] or known or '0-0' }
      end
      for number = from, last do
        local body = ARGV[events_at + number - first]
        if number > from then
          id = redis.call('XADD', stream, '*', 'data', body)
        else
          id = arm == '' and redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', max_length, '*', 'data', body)
          if not id then
            id = redis.call('XADD', stream, 'MAXLEN', '~', max_length, '*', 'data', body)
            -- A stream that is new, whatever became of an older one, has no TTL yet.
            if arm == '' then arm, now = '1', now or clock() end
          end
        end
        if ids then ids[#ids + 1] = id end
      end
      if ids then
        local bodies = table.concat(ARGV, '\n', events_at + from - first, fields_at - 1)
        redis.call(publish, channels[i], table.concat(ids, ' ') .. '\n' .. bodies)
      end
    end
    if letter == 'T' then
      ARGV[fields_at + 1] = string.format('%.0f', now + ARGV[fields_at + 1])
      redis.call('HSET', record, 'fence', ending, 'written', last_text, unpack(ARGV, fields_at, fields_at + fields - 1))
    elseif is_end then
      redis.call('HSET', record, 'fence', ending, 'written', last_text, 'finished_at', now,
        'end_id', id, unpack(ARGV, fields_at, fields_at + fields - 1))
      if outside and awaits_entry(record, fence) then
        redis.call('HSET', record, 'keep_ms', record_ttl)
      else
        redis.call('PEXPIRE', record, record_ttl)
      end
      if last <= MOST_COMPACTED and (arm ~= '' or last > count) and redis.call('XLEN', stream) == last then
        compact(stream)
      end
      if held[4] then
        was_suspended = tonumber(redis.call('ZSCORE', index, id_of(record)) or 0) >= tonumber(SUSPENDED)
        if was_suspended then redis.call('ZADD', index, now, id_of(record)) end
        redis.call('UNLINK', held[4], redis.call('HGET', record, 'blobs') or held[4])
        redis.call('HDEL', record, 'journal', 'blobs', 'inbox', 'sum', 'envelope', 'home', 'waits_for')
      end
    elseif sum then
      redis.call('HSET', record, 'written', last_text, 'sum', sum)
    elseif last > written then
      redis.call('HSET', record, 'written', last_text)
    end
    local was_last = is_end and strike(index, record, outside)
    if arm ~= '' and not is_end and redis.call('ZADD', index, 'NX', now, id_of(record)) == 1 then count_open(index) end
    if arm == '2' then sweep(index, record) end
    -- Who is suspended will need what was said before, however long that takes; see `suspend`.
    if (arm ~= '' or was_suspended) and (was_last or not has_suspended(index)) then
      redis.call('PEXPIRE', stream, stream_ttl)
    end
    out[i] = ending == '' and id or 1
    if held[5] and is_end then
      local given = {}
      for field = fields_at, fields_at + fields - 1, 2 do given[ARGV[field]] = ARGV[field + 1] end
      local told = reply(held[5], { '+', id }, as_outcome(letter, given.result, given.content, given.error))
      -- Who has to be told of it is told before the entry goes: whoever takes that again tells again.
      if #told > 2 then out[i] = told end
    end
    if shape.ack > 0 and is_end and out[i] == 1 then
      local ack = acks[shape.ack] or { ids = {}, tasks = {} }
      acks[shape.ack] = ack
      ack.ids[#ack.ids + 1] = string.match(fence, '^R:%d+:([^:]*):')
      ack.tasks[#ack.tasks + 1] = i
    end
  end
end
-- The ends are written: what cannot be acked is left to those who ask for it by itself, and hear why.
for which, ack in pairs(acks) do
  local control = KEYS[3 * count_of_tasks + which]
  local acked = redis.pcall('XACK', control, ARGV[8], unpack(ack.ids))
  local deleted = redis.pcall('XDEL', control, unpack(ack.ids))
  if type(acked) == 'number' and type(deleted) == 'number' then
    for _, i in ipairs(ack.tasks) do out[i] = 2 end
  end
end
return out
