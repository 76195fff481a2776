-- start: the first start of a task, as most starts are. For scripts that begin with `-- include start`.

-- Binds a record to a control entry and its owner, `:<worker id>`, if the task was never begun and nothing stands in the
-- way: it is not cancelled, and has no time limit. Answers when the record was made (text), or nil if `begin` has to look closer,
-- and as the second answer the fence, nil where there is no record.
local function start(record, entry_id, owner, now, version)
  local held = redis.call('HMGET', record, 'fence', 'cancel', 'expires_at', 'created_at')
  if held[1] ~= 'Q:0::' or held[2] or held[3] then return nil, held[1] end
  redis.call('HSET', record, 'fence', 'R:1:' .. entry_id .. owner, 'started_at', now, 'attempt', '1')
  if version and version ~= '' then redis.call('HSET', record, 'version', '1 ' .. version) end
  return held[4] or now, held[1]
end
