-- begin-newest: takes ownership of tasks whose entries a consumer was handed a moment ago. For a single Redis only: it
-- touches records and control streams. Sent right behind a blocking read, it is carried out when that read has come to
-- its end, and saves a round trip.
-- include clock
-- include newest
-- include start
-- KEYS  1: the newest sends, a line `<control stream> <entry id> <record>` each
-- ARGV  1: group, 2: consumer, which is the worker id, 3: version of the worker or ''
-- Answers per task {control stream, entry id, epoch, written, created_at, attempt, '', ''}, which is what `begin` answers
-- behind the two; entries of several streams may have one id. Only the plain case is done here: a task that was never
-- begun, is not cancelled and has no time limit. All others are left to `begin`, which also bears it well if a task was
-- begun here and nobody has heard of it.
local noted = redis.call('GETDEL', KEYS[1])
if not noted then return {} end
local out = {}
local now
for sent in string.gmatch(noted, '[^\n]+') do
  local stream, id, record = string.match(sent, '^(%S+) (%S+) (%S+)$')
  -- A group may be gone; what is pending elsewhere belongs to who has it.
  local pending = redis.pcall('XPENDING', stream, ARGV[1], id, id, '1', ARGV[2])
  if pending[1] then
    now = now or clock()
    local created_at = start(record, id, ':' .. ARGV[2], now, ARGV[3])
    if created_at then out[#out + 1] = { stream, id, '1', '0', created_at, '1', '', '' } end
  elseif redis.call('HGET', record, 'fence') == 'Q:0::' then
    note_newest(sent)
  end
end
keep_newest(KEYS[1])
return out
