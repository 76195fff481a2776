-- let-go: letting go of entries that a consumer has. For scripts that begin with `-- include let-go`.

-- A month, longer than any lease: whoever looks for the silent takes them at once, in place, so that their order is kept.
local LET_GO_IDLE = 2592000000

local function let_go(stream, group, consumer, id, count)
  return #redis.call('XCLAIM', stream, group, consumer, 0, id, 'IDLE', LET_GO_IDLE, 'RETRYCOUNT', count, 'JUSTID')
end
