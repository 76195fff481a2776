-- journal-close: the owners of tasks record results of their own.
-- include answers
-- include clock
-- KEYS  per operation: record, journal, blobs
-- ARGV  per operation: fence, operation, entry (JSON) if it was not opened before, else '', result (JSON), the emitter's
--       sum or '', what of the result is to be known without it, should it be large (JSON)
-- Answers per operation {'', '', result that is recorded}, or {fence that holds} if that is not the one given.
local now = clock()
local out = {}
for i = 1, #KEYS / 3 do
  local record, journal, at = KEYS[3 * i - 2], KEYS[3 * i - 1], 6 * i - 5
  local fence, op, entry, sum = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  local held = redis.call('HMGET', record, 'fence', 'attempt', 'journal')
  if held[1] ~= fence then
    out[i] = { held[1] or '' }
  else
    if not held[3] then
      redis.call('HSET', record, 'journal', journal, 'blobs', KEYS[3 * i])
      if sum ~= '' then redis.call('HSET', record, 'sum', sum) end
    end
    if entry ~= '' then redis.call('HSETNX', journal, op, now .. ' ' .. entry) end
    local text = redis.call('HGET', journal, '=' .. op)
    -- Only what failed is carried out again in another attempt.
    if not text or string.match(text, '^%d+ (%d+)') ~= (held[2] or '0') then
      text = redis.call('HINCRBY', journal, 'n', 1) .. ' ' .. (held[2] or '0') .. ' ' .. kept(record, op, ARGV[at + 3], ARGV[at + 5])
      redis.call('HSET', journal, '=' .. op, text)
    end
    out[i] = { '', '', text }
  end
end
return out
