-- enqueue: puts envelopes on control streams of one slot.
-- include clock
-- include own-id
-- KEYS  per task: control stream
-- ARGV  per task: envelope, turn ('' for none), limit (0 for none)
-- Answers per task the entry's id, or '' where the stream has as many entries as its limit allows: then nothing was
-- written for that task. Nothing is ever trimmed to make room.
-- What has no turn may have been sent before, to another lane.
local now = clock()
local out = {}
for i = 1, #KEYS do
  local data, turn, limit = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  if limit > 0 and redis.call('XLEN', KEYS[i]) >= limit then
    out[i] = ''
  elseif turn == '' then
    local own = redis.pcall('XADD', KEYS[i], string.format('%s-%.0f', now, first_number(KEYS[i])), 'data', data)
    -- An error: that one is there, or the clock has gone back.
    if own.err then own = under_own_id(KEYS[i], redis.call('XADD', KEYS[i], '*', 'data', data), 'data', data) end
    out[i] = own
  else
    out[i] = redis.call('XADD', KEYS[i], '*', 'data', data, 'turn', turn)
  end
end
return out
