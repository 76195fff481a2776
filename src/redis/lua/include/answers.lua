-- answers: how what a task waits for reaches it. For scripts that begin with `-- include answers`.

-- Writes the result of one operation into the journal of the task that waits for it, once, and answers who must be told:
-- {'wake', owner, result} while the task runs, unless its `inbox`, `<stem of the key> <length> <time to live>`, lets the
-- owner be woken here and now; {'resume', epoch, home, envelope} when it is suspended, or was, is told of the same
-- result again and has not been taken yet: then an envelope is to be put on the control stream of `home` with the epoch as its turn, and
-- doing so twice does no harm, unless `home`, `<capability> <lane> <control stream>`, lets that be done here and now;
-- {'none'} where there is nobody to tell, or nobody any more. Nothing is answered (nil) when the task has
-- its end or does not know the operation. The second answer is true if the result is this one. A result is kept as
-- `<order> <attempt> <json>`; one that is large lies among the record's `blobs`, and what is to be known without it, `short`,
-- is kept as `<order> <attempt> @<json>`. Those who are woken have to read a large one.
local function kept(record, op, result, short)
  local blobs = #result > 32768 and redis.call('HGET', record, 'blobs')
  if not blobs then return result end
  redis.call('HSET', blobs, op, result)
  return '@' .. short
end

local function wake(inbox, owner, record, op, text)
  local stem, length, ttl = string.match(inbox, '^(.*) (%d+) (%d+)$')
  local session_id, message_id = string.match(record, '{([^{}]*)}:([^{}]*)$')
  local what = 'reply ' .. session_id .. ' ' .. message_id .. ' ' .. op
  local key = stem .. owner
  -- Its reader keeps it alive.
  if redis.call('XADD', key, 'NOMKSTREAM', 'MAXLEN', '~', length, '*', 'data', '{}', 'wake', what, 'result', text) then
    return
  end
  redis.call('XADD', key, '*', 'data', '{}', 'wake', what, 'result', text)
  redis.call('PEXPIRE', key, ttl)
end

local function deliver(record, journal, op, result, short)
  local held = redis.call('HMGET', record, 'fence', 'attempt', 'home', 'envelope', 'inbox')
  if not held[1] or string.find('CFXE', string.sub(held[1], 1, 1), 1, true) then return nil, false end
  local noted = redis.call('HMGET', journal, '=' .. op, op, 'n')
  local text = noted[1]
  local is_new = not text
  if is_new then
    if not noted[2] then return nil, false end
    local order = string.format('%d', (noted[3] or 0) + 1)
    text = order .. ' ' .. (held[2] or '0') .. ' ' .. kept(record, op, result, short)
    redis.call('HSET', journal, 'n', order, '=' .. op, text)
  end
  local state, epoch, owner = string.match(held[1], '^(%u):(%d+):[^:]*:(.*)$')
  local is_large = #text > 32768 or string.find(text, '^%d+ %d+ @')
  if state == 'R' and not held[5] then return { 'wake', owner, is_large and '' or text }, is_new end
  if state == 'R' then wake(held[5], owner, record, op, is_large and '' or text) end
  local is_parked = state == 'W'
  if is_parked then redis.call('HSET', record, 'fence', 'Q:' .. epoch .. '::') end
  -- Whoever told first sees to that, and tells again if he died on the way; a further answer does not.
  if (is_parked or (state == 'Q' and not is_new)) and held[4] then
    local stream = string.match(held[3], '^%S+ %S+ (%S+)$')
    if not stream then return { 'resume', epoch, held[3], held[4] }, is_new end
    redis.call('XADD', stream, '*', 'data', held[4], 'turn', epoch)
  end
  return { 'none' }, is_new
end

-- How a task has ended, as its caller's journal has it, and in short: from its fields, or from its record.
local function as_outcome(state, result, content, fault)
  local short = '{"s":"' .. state .. '"}'
  return cjson.encode({ s = state, r = result or nil, c = content or nil, e = fault or nil }), short
end
local function outcome(record)
  local held = redis.call('HMGET', record, 'fence', 'result', 'content', 'error')
  return as_outcome(string.sub(held[1], 1, 1), held[2], held[3], held[4])
end

-- Delivers the end of a task to all that wait for it, and adds to `out` per waiting task that must be told of it its record,
-- the operation and what `deliver` says. `reply_to` has a line `<record> <journal> <operation>` for each.
local function reply(reply_to, out, result, short)
  for above, journal, op in string.gmatch(reply_to, '(%S+) (%S+) ([^\n]+)') do
    local tell = deliver(above, journal, op, result, short)
    if tell and tell[1] ~= 'none' then
      table.insert(tell, 1, op)
      table.insert(tell, 1, above)
      out[#out + 1] = tell
    end
  end
  return out
end
