-- conclude: ends tasks, or leaves them to their next attempts, with their last words.
-- include answers
-- include clock
-- include index
-- include events
-- KEYS  per task: record, data stream, session index; then the control streams that ends ack
-- ARGV  1-7: see include/events, 8: consumer group; then per task: fence, shape, the events, the fields, and if the shape
--       says so the id of the task's last event
-- A shape is `<first>:<last>:<events>:<to>:<fields>:<arm>:<known>:<ack>`: numbers of the first event (0: whatever comes next)
-- and of the last, count of events, the letter to go over to, count of the names and values of further fields, see
-- include/events, 1 if the id of the last event is known or '', and 0 or which of the control streams holds the entry of
-- the fence.
-- Answers per task 1 if that was its last word and nobody has to be told of it, 2 if its entry has been acked and deleted
-- besides; {fence that holds} if that is not the one given, or {fence, cancel} if the task must not end as it would because
-- it is cancelled: nothing was written then; or {'+', id of the last event, who must be told (see `reply`)...} for the end of
-- a task for which others wait.
-- The fence is a compare-and-set: the owner of an attempt gives his, and whoever ends a task that nobody owns gives the
-- one he read. C, F, X or E as the letter to go over to is an end; with T the attempt failed and the next one is due
-- after as many ms as its first field, `due_at`, says. A cancelled task goes over to X and nothing else.
-- Who ends a task from outside (with the number 0) may leave an entry of it on a control stream, and that must not meet
-- a record that is gone, or the task would run. So the record gets its time to live only when the entry has been seen
-- off, by `begin` or `retire`, or it is certain that none will come; `keep_ms` says how long it is.
local now = clock()

local function shape_of(text)
  local first, last, count, letter, fields, arm, known, ack =
    string.match(text, '^(%d+):(%d+):(%d+):(%u):(%d+):([12]?):(1?):(%d+)$')
  shapes[text] = { first = tonumber(first), last = last, count = tonumber(count), letter = letter, is_end = letter ~= 'T',
    fields = tonumber(fields), arm = arm, has_known = known ~= '', ack = tonumber(ack) }
  return shapes[text]
end

-- True if an entry of the task may lie on a control stream or be with a worker, or may come there from the agenda, whose
-- keeper may have it in hand. What was cancelled before it was put on the agenda is not put there.
local function awaits_entry(fence, is_cancelled)
  local state = string.sub(fence, 1, 1)
  return state == 'Q' or state == 'R' or ((state == 'D' or state == 'T') and not is_cancelled)
end

-- A new stream takes 4 KB, whatever is in it. A copy takes what is in it, and the next new stream gets those 4 KB: a session
-- of one short task, which is what many are, takes a third, and all stay in the caches. A server that knows no COPY or
-- forbids it does without.
local MOST_COMPACTED = 16
local function compact(stream)
  local copy = stream .. ':copy'
  if redis.pcall('COPY', stream, copy) == 1 and redis.pcall('RENAME', copy, stream).err then redis.call('DEL', copy) end
end

-- Takes an end off the count of the index, and answers true if it was the last. An index that is gone, or was made anew
-- since, counts none. The workers of a fleet keep their records equally long; who ends a task from outside need not know
-- how long that is. A record that is on its way to another server of a Cluster cannot be asked.
local function strike(index, record, outside)
  local open = redis.call('ZINCRBY', index, '1', '')
  if string.sub(open, 1, 1) == '-' then return false end
  if open ~= '0' then redis.call('ZADD', index, '0', '', now, id_of(record)) end
  local longest = tonumber(record_ttl)
  if outside then
    for _, other in ipairs(redis.call('ZREVRANGEBYSCORE', index, '+inf', '(0', 'LIMIT', 0, 100)) do
      local left = redis.pcall('PTTL', home_of(record) .. other)
      if type(left) == 'number' then longest = math.max(longest, left) end
    end
  end
  redis.call('PEXPIRE', index, string.format('%.0f', longest))
  return true
end

-- On a Cluster what `clear` removes may be on its way to another server, which is an error: before anything is written it
-- only means to come again.
local function require_here(record, journal)
  redis.call('EXISTS', journal, redis.call('HGET', record, 'blobs') or journal)
end

-- Removes what only a task without an end needs, and answers true if it was suspended once.
local function clear(record, journal, index)
  redis.call('UNLINK', journal, redis.call('HGET', record, 'blobs') or journal)
  redis.call('HDEL', record, 'journal', 'blobs', 'inbox', 'sum', 'envelope', 'home', 'waits_for', 'asked')
  local was_suspended = tonumber(redis.call('ZSCORE', index, id_of(record)) or 0) >= tonumber(SUSPENDED)
  if was_suspended then redis.call('ZADD', index, now, id_of(record)) end
  return was_suspended
end

-- Answers who must be told of an end whose fields are in ARGV from `first` to `last`: see `reply`.
local function tell(reply_to, letter, id, first, last)
  local given = {}
  for field = first, last, 2 do given[ARGV[field]] = ARGV[field + 1] end
  return reply(reply_to, { '+', id }, as_outcome(letter, given.result, given.content, given.error))
end

local acks = {}
local function note_ack(which, fence, task)
  local ack = acks[which] or { ids = {}, tasks = {} }
  acks[which] = ack
  ack.ids[#ack.ids + 1] = string.match(fence, '^R:%d+:([^:]*):')
  ack.tasks[#ack.tasks + 1] = task
end

local at = 9
local out = {}
for i = 1, task_count do
  local record, stream, index = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local fence, shape, events_at = ARGV[at], shapes[ARGV[at + 1]] or shape_of(ARGV[at + 1]), at + 2
  local letter, is_end = shape.letter, shape.is_end
  local fields_at = events_at + shape.count
  local fields_to = fields_at + shape.fields - 1
  at = fields_to + 1
  local known = shape.has_known and ARGV[at]
  if known then at = at + 1 end
  local ending = is_end and letter .. string.sub(fence, 2) or string.gsub(fence, '^.(:%d+:[^:]*:).*$', 'T%1')
  local held = redis.call('HMGET', record, 'fence', 'written', 'cancel', 'journal', 'reply_to')
  if held[1] ~= fence then
    -- The answer to an end may have been lost: those who wait are told again.
    local is_repeated = held[5] and is_end and held[1] == ending
    out[i] = is_repeated and reply(held[5], { '+', '' }, outcome(record)) or { held[1] or '' }
  elseif held[3] and letter ~= 'X' then
    out[i] = { fence, held[3] }
  else
    if held[4] and is_end and publish == 'SPUBLISH' then require_here(record, held[4]) end
    local written, outside = held[2] or 0, shape.first == 0
    local last = outside and written + shape.count or shape.first + shape.count - 1
    local last_text = outside and string.format('%.0f', last) or shape.last
    local arm, id, is_new = shape.arm, '', false
    if last - written > 0 then
      id, is_new = append(i, math.max(events_at, fields_at - (last - written)), fields_at - 1, known, arm)
      if is_new and arm == '' then arm = '1' end
    end
    local was_last, was_suspended = false, false
    if is_end then
      redis.call('HSET', record, 'fence', ending, 'written', last_text, 'finished_at', now, 'end_id', id,
        unpack(ARGV, fields_at, fields_to))
      if outside and awaits_entry(fence, held[3]) then
        redis.call('HSET', record, 'keep_ms', record_ttl)
      else
        redis.call('PEXPIRE', record, record_ttl)
      end
      if last <= MOST_COMPACTED and (arm ~= '' or last > shape.count) and redis.call('XLEN', stream) == last then
        compact(stream)
      end
      was_suspended = held[4] and clear(record, held[4], index)
      was_last = strike(index, record, outside)
    else
      ARGV[fields_at + 1] = string.format('%.0f', now + ARGV[fields_at + 1])
      redis.call('HSET', record, 'fence', ending, 'written', last_text, unpack(ARGV, fields_at, fields_to))
      if arm ~= '' then relist(index, record, now) end
    end
    if arm == '2' then sweep(index, record, now) end
    if was_last and arm ~= '' then
      redis.call('PEXPIRE', stream, stream_ttl)
    elseif arm ~= '' or was_suspended then
      expire_stream(stream, index)
    end
    out[i] = 1
    if held[5] and is_end then
      local told = tell(held[5], letter, id, fields_at, fields_to)
      -- Who has to be told of it is told before the entry goes: whoever takes that again tells again.
      if #told > 2 then out[i] = told end
    end
    if shape.ack > 0 and is_end and out[i] == 1 then note_ack(shape.ack, fence, i) end
  end
end

-- The ends are written: what cannot be acked is left to those who ask for it by itself, and hear why.
for which, ack in pairs(acks) do
  local control = KEYS[3 * task_count + which]
  local acked = redis.pcall('XACK', control, ARGV[8], unpack(ack.ids))
  local deleted = redis.pcall('XDEL', control, unpack(ack.ids))
  if type(acked) == 'number' and type(deleted) == 'number' then
    for _, i in ipairs(ack.tasks) do out[i] = 2 end
  end
end
return out
