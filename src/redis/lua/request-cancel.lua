-- request-cancel: asks for the end of tasks that somebody runs. From then on the task can only end as cancelled.
-- KEYS  per task: record
-- ARGV  per task: the request (JSON)
-- Answers per task the fence, or '' if there is no record. The request is noted only where the fence says R; the first
-- one stays.
local out = {}
for i = 1, #KEYS do
  local fence = redis.call('HGET', KEYS[i], 'fence')
  if fence and string.sub(fence, 1, 1) == 'R' then redis.call('HSETNX', KEYS[i], 'cancel', ARGV[i]) end
  out[i] = fence or ''
end
return out
