-- journal-ask: notes a question to a person and puts it on the session's data stream, both once; on the stream again where
-- that was taken back.
-- include clock
-- KEYS  1: record, 2: journal, 3: data stream, 4: blobs
-- ARGV  1: fence, 2: operation, 3: entry (JSON), 4: the emitter's sum or '', 5: event, 6: TTL of a data stream (ms),
--       7: length bound of a data stream, 8: PUBLISH or SPUBLISH, 9: what the names of channels end with, 10: 1 if the
--       event, unless there is an answer, is to be put there although the question was noted before
-- Answers like journal-open.
local held = redis.call('HMGET', KEYS[1], 'fence', 'cancel', 'journal')
if held[1] ~= ARGV[1] then return { held[1] or '' } end
if held[2] then return { ARGV[1], held[2] } end
if not held[3] then
  redis.call('HSET', KEYS[1], 'journal', KEYS[2], 'blobs', KEYS[4])
  if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'sum', ARGV[4]) end
end
local now = clock()
local is_new = redis.call('HSETNX', KEYS[2], ARGV[2], now .. ' ' .. ARGV[3]) == 1
local result = redis.call('HGET', KEYS[2], '=' .. ARGV[2])
-- A call that is repeated after a lost answer must not put it there twice: `asked` has a line for the fence, and one for
-- each question that its owner has put again.
local line = '\n' .. ARGV[2] .. '\n'
local asked = ARGV[10] == '1' and redis.call('HGET', KEYS[1], 'asked') or ''
if string.sub(asked, 1, #ARGV[1] + 1) ~= ARGV[1] .. '\n' then asked = ARGV[1] .. '\n' end
if is_new or (ARGV[10] == '1' and not result and not string.find(asked, line, 1, true)) then
  if ARGV[10] == '1' then redis.call('HSET', KEYS[1], 'asked', asked .. line) end
  local before = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
  local id = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'data', ARGV[5])
  if not before[1] then redis.call('PEXPIRE', KEYS[3], ARGV[6]) end
  redis.call(ARGV[8], KEYS[3] .. ARGV[9], (before[1] and before[1][1] or '0-0') .. ' ' .. id .. '\n' .. ARGV[5])
end
return { '', '', result or '' }
