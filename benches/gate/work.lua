-- A reservation by hand, for an order of one name, as lean as it can be for this one purpose: nobody has the set in hand, no lease is
-- overdue, nothing is frozen, nobody waits, the ledger has lost nothing; every bucket has room for one more. Then the buckets that
-- the order may take from hold one more, and the permit, the set in hand and a line of the record are written, under a number without gaps.
-- Returns the number, or what is in the way.
--
-- KEYS: ledger, record, cells, permits, hands, leases.
-- ARGV: the number that was seen last, account, name, registered domain, set, permit, holder, end of the lease; then emission interval and
-- burst of orders, failures, certificates of the domain, of the set; of pausing.
local call = redis.call
local account, name, set, permit, holder, lease_end = ARGV[2], ARGV[3], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local ledger = call('HMGET', KEYS[1], 'sequence', 'frozen', 'waiting')
if not ledger[1] or tonumber(ledger[1]) < tonumber(ARGV[1]) then return 'lost' end
if ledger[2] then return 'frozen' end
if ledger[3] then return 'waiting' end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if #call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', 0, 1) > 0 then return 'overdue' end
local hand = call('HGET', KEYS[5], set)
if hand then return hand end

local pair = account .. ' ' .. name
local names = {'o ' .. account, 'f ' .. pair, 'd ' .. ARGV[4], 's ' .. set, 'p ' .. pair, 'b ' .. pair}
local rows, cells, blocked = call('HMGET', KEYS[3], unpack(names)), {}, {}
for bucket = 1, 5 do
  local emission, burst = ARGV[7 + 2 * bucket], ARGV[8 + 2 * bucket]
  local at, count = now, 0
  if rows[bucket] then
    local tat, holds = string.match(rows[bucket], '^(%d+) (%d+)$')
    at, count = math.max(at, tonumber(tat)), tonumber(holds)
  end
  local fits_at = at + emission * (count + 1 - burst)
  if fits_at > now then blocked[#blocked + 1] = string.format('%s %.0f', names[bucket], fits_at) end
  if bucket <= 4 then
    cells[2 * bucket - 1] = names[bucket]
    cells[2 * bucket] = string.format('%.0f %d', at, count + 1)
  end
end
-- A name that failed lately waits until then.
if rows[6] and tonumber(rows[6]) > now then blocked[#blocked + 1] = names[6] .. ' ' .. rows[6] end
if #blocked > 0 then return blocked end

local sequence = call('HINCRBY', KEYS[1], 'sequence', 1)
local said = table.concat({'reserve', permit, holder, account, name, ARGV[4], set, lease_end}, ' ')
call('XADD', KEYS[2], sequence .. '-0', string.format('%.0f', now), said)
call('HSET', KEYS[3], unpack(cells))
call('HSET', KEYS[4], permit, sequence .. ' ' .. said)
call('HSET', KEYS[5], set, table.concat({permit, holder, account, lease_end}, ' '))
call('ZADD', KEYS[6], lease_end, permit)
return sequence
