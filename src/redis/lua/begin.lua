-- begin: takes ownership of tasks for one worker, or says why not.
-- include clock
-- include start
-- KEYS  per task: record
-- ARGV  1: worker id; then per task: control entry id, followed by a blank and the turn of the entry if it has one;
--       then, for a worker of a declared version, the versions whose tasks it goes on with, its own first: ` own other `;
--       or * for what no handler is to run
-- Answers per task its created_at as a number for a plain first start (epoch and attempt 1, nothing written, not
-- cancelled, not expired), which most are; else {epoch, written, created_at, attempt, cancel ('' or JSON), 1 if it expired
-- before its first start, its life (see `revive`) or ''}, and if it has noted operations before {…, its journal, the
-- emitter's sum or '', restarts}, and where that journal is short {…, Redis' time, its fields and values}; or one of
--   missing          the record does not exist (a foreign writer, or a sender that died in between): admit, then ask again
--   ended            the task has its end: ack the entry (and the record that waited for it gets its time to live)
--   replying         the same, and others wait for that end: see that they are told, then ack
--   stale            another entry is or will be the live one: ack this one
--   {failed, epoch}  this very entry's attempt failed for good: see that its dead letter is written and that those who
--                    wait for the end are told, then ack
--   {elsewhere, version, epoch} the task's journal was written by a version that this worker does not go on with: put its
--                    envelope on the lane of that version, or back on its own lane later if it has one, with the epoch as its
--                    turn, then ack. Asked again it answers so again, or 'parked'; doing it twice does no harm
--   {parked, due_in, epoch} this very entry's attempt failed and the next is due then: see that it is on the agenda, then ack
-- Ownership hangs on the id of the one live entry, never on a state alone: a worker that dies between delivery and
-- start leaves the state as it was, and the redelivered entry must still be the one that may run. A record without a
-- live entry waits for one whose turn is its epoch, so an entry may be put on its stream twice without harm. An entry
-- without a turn is a first send; it fits a record that was never begun and is not held back.
local now = clock()
local owner = ':' .. ARGV[1]
local versions = ARGV[#KEYS + 2]
local own_version = versions and versions ~= '*' and string.match(versions, '%S+')
local out = {}
-- `version` is the one that ran the task last, with the epoch of that run; a worker without one leaves no word.
local function foreign_version(noted, epoch)
  local since, version = string.match(noted or '', '^(%d+) (.+)$')
  if since ~= epoch or versions == '*' then return nil end
  if versions and string.find(versions, ' ' .. version .. ' ', 1, true) then return nil end
  return version
end
for i = 1, #KEYS do
  local entry_id, turn = ARGV[i + 1], ''
  local blank = string.find(entry_id, ' ', 1, true)
  if blank then entry_id, turn = string.sub(entry_id, 1, blank - 1), string.sub(entry_id, blank + 1) end
  local started, fence
  if turn == '' or turn == '0' then
    started, fence = start(KEYS[i], entry_id, owner, now, own_version)
  else
    fence = redis.call('HGET', KEYS[i], 'fence')
  end
  if not fence then
    out[i] = 'missing'
  elseif started then
    out[i] = tonumber(started)
  else
    local held = redis.call('HMGET', KEYS[i], 'fence', 'written', 'failures', 'cancel', 'expires_at', 'started_at',
      'journal', 'sum', 'created_at', 'life')
    local state, epoch, entry = string.match(held[1], '^(%u):(%d+):([^:]*):')
    local waits = state == 'Q' or state == 'D' or state == 'T'
    local may_run = ((state == 'R' or state == 'Q') and entry == entry_id) or (waits and turn == epoch)
      or (state == 'Q' and turn == '' and epoch == '0')
    local more = may_run and held[7] and redis.call('HMGET', KEYS[i], 'restarts', 'version')
    -- Whoever takes a cancelled task only ends it.
    local foreign = more and not held[4] and foreign_version(more[2], epoch)
    if foreign then
      -- It waits for another entry now; this one stays known until that is written. Each time is a turn of its own, since
      -- what goes by the agenda must not be taken for what leaves it just now.
      epoch = string.format('%.0f', epoch + 1)
      local fence = (state == 'T' and 'T:' or 'Q:') .. epoch .. ':' .. entry_id .. ':'
      redis.call('HSET', KEYS[i], 'fence', fence, 'version', epoch .. ' ' .. foreign, 'lane_version', foreign)
      out[i] = { 'elsewhere', foreign, epoch }
    elseif may_run then
      local expired = not held[6] and held[5] and tonumber(held[5]) <= tonumber(now)
      epoch = string.format('%.0f', epoch + 1)
      local attempt = string.format('%.0f', (held[3] or 0) + 1)
      local fence = 'R:' .. epoch .. ':' .. entry_id .. ':' .. ARGV[1]
      if expired then
        -- Not a start: whoever takes it over must find it expired, too.
        redis.call('HSET', KEYS[i], 'fence', fence)
      else
        redis.call('HSET', KEYS[i], 'fence', fence, 'started_at', now, 'attempt', attempt)
      end
      out[i] = { epoch, held[2] or '0', held[9] or now, attempt, held[4] or '', expired and '1' or '', held[10] or '' }
      if held[7] then
        redis.call('HDEL', KEYS[i], 'envelope', 'home', 'waits_for')
        -- What a failed attempt has said is taken back: the next one does not go on from there.
        if state == 'T' then redis.call('HDEL', KEYS[i], 'sum') end
        out[i][8] = held[7]
        out[i][9] = state ~= 'T' and held[8] or ''
        out[i][10] = more[1] or '0'
        -- A short journal comes along; a long one is read by itself, as is what is none: whoever reads that fails.
        local length = redis.pcall('HLEN', held[7])
        if type(length) == 'number' and length <= 32 then
          out[i][11] = now
          for at, text in ipairs(redis.call('HGETALL', held[7])) do out[i][11 + at] = text end
        end
      end
      if own_version then redis.call('HSET', KEYS[i], 'version', epoch .. ' ' .. own_version) end
    elseif state == 'T' and entry == entry_id then
      local due_in = (redis.call('HGET', KEYS[i], 'due_at') or now) - now
      out[i] = { 'parked', string.format('%.0f', math.max(due_in, 0)), epoch }
    elseif state == 'F' and entry == entry_id then
      out[i] = { 'failed', epoch }
    elseif waits or state == 'R' or state == 'W' then
      out[i] = 'stale'
    else
      out[i] = redis.call('HEXISTS', KEYS[i], 'reply_to') == 1 and 'replying' or 'ended'
      local keep_ms = redis.call('HGET', KEYS[i], 'keep_ms')
      if keep_ms then
        redis.call('PEXPIRE', KEYS[i], keep_ms)
        redis.call('HDEL', KEYS[i], 'keep_ms')
      end
    end
  end
end
return out
