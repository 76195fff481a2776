-- send: puts tasks on their control streams and makes their records, both or neither. For a single Redis only: it touches
-- control streams and records.
-- include clock
-- include index
-- include make
-- include newest
-- include own-id
-- KEYS  per task: control stream
-- ARGV  1: what the keys of records begin with, 2: what those of session indexes begin with, 3: key of the newest sends
--       (see `begin-newest`) or '' if this is not to be noted there; then per task: envelope, `<limit> <timing>` or '',
--       how the key of its record goes on: `{<session>}:<message>`, agent type, trace id, parent message id, user code
-- Answers per task what `make` says, or '' where the stream has as many entries as its limit allows: then nothing was
-- written for that task. Nothing is ever trimmed to make room.
-- A message that was sent before gets another entry all the same, unless its task has its end or is held back: the first one
-- may be gone, and a command of another kind for a task that waits is not passed over in silence.

local function sent_again(stream, entry_id, record, data, tail)
  if string.find('CFXED', string.sub(redis.call('HGET', record, 'fence'), 1, 1), 1, true) then
    -- Nothing would begin by such an entry. While nobody takes it the record may expire, and then the task would run again.
    redis.call('XDEL', stream, entry_id)
    if redis.call('XLEN', stream) == 0 and #redis.call('XINFO', 'GROUPS', stream) == 0 then redis.call('DEL', stream) end
  else
    under_own_id(stream, entry_id, 'data', data, 'task', tail)
  end
end

local now = clock()
local out = {}
for i = 1, #KEYS do
  local stream, at = KEYS[i], 7 * i - 3
  local terms, tail = ARGV[at + 1], ARGV[at + 2]
  local limit, timing
  if terms ~= '' then limit, timing = string.match(terms, '^(%d*) (.*)$') end
  if limit and limit ~= '' and redis.call('XLEN', stream) >= tonumber(limit) then
    out[i] = ''
  else
    local entry_id = redis.call('XADD', stream, '*', 'data', ARGV[at], 'task', tail)
    local brace = string.find(tail, '}', 1, true)
    local record = ARGV[1] .. tail
    out[i] = make(now, record, ARGV[2] .. string.sub(tail, 1, brace), string.sub(tail, brace + 2), ARGV[at + 3],
      ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], timing or '')
    if out[i] ~= 1 then
      sent_again(stream, entry_id, record, ARGV[at], tail)
    elseif ARGV[3] ~= '' then
      note_newest(stream .. ' ' .. entry_id .. ' ' .. record)
    end
  end
end
keep_newest(ARGV[3])
return out
