-- inspect: what has become of tasks while their attempts run.
-- KEYS  per task: record
-- ARGV  per task: fence of the attempt
-- Answers per task '' (all as it should be), {fence that holds} or {fence, cancel}.
local out = {}
for i = 1, #KEYS do
  local held = redis.call('HMGET', KEYS[i], 'fence', 'cancel')
  if held[1] ~= ARGV[i] then
    out[i] = { held[1] or '' }
  elseif held[2] then
    out[i] = { ARGV[i], held[2] }
  else
    out[i] = ''
  end
end
return out
