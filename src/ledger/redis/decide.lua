-- One step of a ledger, whole or not at all: `Page::carry_out` of page.rs in Lua, held equal to it by tests/ledger/model.rs.
--
-- KEYS: the marker, the record, and the realm's cells, documents and leases. All lie in one slot of a cluster.
-- ARGV: what wire.rs writes, in the order in which it is read here: a MessagePack array of arrays of all numbers and words, since a hundred
-- arguments cost more than the decision, and then names and texts.
--
-- A cell is "TAT HELD ASKED", a document "VERSION BODY". Times are whole microseconds and, as all numbers here, less than 2^53: doubles are
-- exact. (`..` writes 14 digits of a number; what is stored goes through %.0f, counts of 32 bits through %d, which is faster.) Nothing is
-- written before all has been read and decided.
local call, unpack, tonumber, format, max, min = redis.call, unpack, tonumber, string.format, math.max, math.min
local DONE, BLOCKED, MOVED, WENT_BACK, NO_LEDGER, NEWER, BAD_ROW = 0, 1, 2, 3, 4, 5, 6
local NEVER = -math.huge -- The TAT of a bucket that nobody has spent from.
local LAST = 9007199254740991 -- The last instant, in the year 2255.
local OVERDUE_MAX, ASK_AGAIN = 64, 60000000
local SPREAD = 4000 -- How many values `unpack` may spread at once.

-- What there is none of is `false`.
local head, known, buckets, asks, moves, writes = unpack(cmsgpack.unpack(ARGV[1]))
local schema, scale_from, scale_to, speed, known_epoch, known_sequence, valid_from, valid_to, settled, opens_epoch, cells, records = unpack(head)

-- Fields of a hash by the names in a range of the arguments.
local function fields(key, first, last)
  if last < first then return {} end
  if last - first < SPREAD then return call('HMGET', key, unpack(ARGV, first, last)) end
  local all = {}
  for from = first, last, SPREAD do
    for _, value in ipairs(call('HMGET', key, unpack(ARGV, from, min(from + SPREAD - 1, last)))) do
      all[#all + 1] = value
    end
  end
  return all
end
local function write(command, key, values)
  for from = 1, #values, SPREAD do
    call(command, key, unpack(values, from, min(from + SPREAD - 1, #values)))
  end
end

-- The marker, and how far the ledger has come.
local marker = call('HMGET', KEYS[1], 'epoch', 'sequence', 'writable_from')
local epoch, sequence, writable_from = tonumber(marker[1]), tonumber(marker[2]), tonumber(marker[3])
if not (epoch and sequence and writable_from) then return {NO_LEDGER} end
if writable_from > schema then return {NEWER, tonumber(call('HGET', KEYS[1], 'schema')) or writable_from} end

-- The time: the server's, on the caller's scale.
local clock = call('TIME')
local at = scale_to + (clock[1] * 1000000 + clock[2] - scale_from) * speed

if known_epoch > epoch or (known_epoch == epoch and known_sequence > sequence) then
  return {WENT_BACK, at, epoch, sequence}
end
local at_text = format('%.0f', at)

-- What the caller has to know.
local first = 2
local moved, rows, unknown, absent = {MOVED, at, epoch, sequence, 0}, fields(KEYS[4], first, first + #known - 1), 0, {}
for index = 1, #known do
  local row = rows[index]
  local version, body = 0, ''
  if row then
    local blank = string.find(row, ' ', 1, true)
    version = blank and tonumber(string.sub(row, 1, blank - 1))
    if not version then return {BAD_ROW, 'document ' .. ARGV[first + index - 1], row} end
    body = string.sub(row, blank + 1)
  else
    absent[ARGV[first + index - 1]] = true
  end
  if version ~= known[index] then
    unknown = unknown + 1
    moved[#moved + 1] = index - 1
    moved[#moved + 1] = version
    moved[#moved + 1] = body
  end
end
moved[5] = unknown
if settled == 1 then
  for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[5], '-inf', at_text, 'LIMIT', 0, OVERDUE_MAX)) do
    moved[#moved + 1] = name
  end
end
if at < valid_from or at >= valid_to or #moved > 5 then return moved end

-- The cells, and the buckets that are seen through them: each is cell, emission interval, burst and floor.
local before = first + #known - 1
local tat, held, asked, changed = {}, {}, {}, {}
local found = fields(KEYS[3], before + 1, before + cells)
for cell = 1, cells do
  local row = found[cell]
  if row then
    local t, h, a = string.match(row, '^(%-?%d*) (%d+) (%d+)$')
    if not t then return {BAD_ROW, 'cell ' .. ARGV[before + cell], row} end
    tat[cell], held[cell], asked[cell] = tonumber(t) or NEVER, tonumber(h), tonumber(a)
  else
    tat[cell], held[cell], asked[cell] = NEVER, 0, 0
  end
end

local blocked = {BLOCKED, at, epoch, sequence}
for ask = 1, #asks, 5 do
  local bucket, usable, tokens, asking, beside = asks[ask], asks[ask + 1], asks[ask + 2], asks[ask + 3], asks[ask + 4]
  local cell, emission = buckets[bucket], buckets[bucket + 1]
  if beside then
    tokens = min(tokens + held[buckets[beside]], buckets[bucket + 2])
  end
  local fits_at = max(tat[cell], buckets[bucket + 3] or NEVER, at) + emission * (tokens + held[cell] - usable)
  if fits_at > at and (asking == 1 or asked[cell] > 0) then
    if asking == 0 then
      -- It would take, unasked, what another order was let go for. That one is soon over.
      fits_at = min(fits_at, at + ASK_AGAIN)
    end
    blocked[#blocked + 1] = (bucket - 1) / 4
    blocked[#blocked + 1] = min(fits_at, LAST)
  end
end
if #blocked > 4 then return blocked end

-- It is a yes.
local done, denied = {DONE}, 5
local function spend(cell, bucket, now)
  local full_at, emission = max(tat[cell], now), buckets[bucket + 1]
  local empty = now + emission * buckets[bucket + 2]
  tat[cell] = max(min(full_at + emission, empty), full_at)
end
for move = 1, #moves, 3 do
  local bucket, motion, with = moves[move], moves[move + 1], moves[move + 2]
  local cell = buckets[bucket]
  tat[cell], changed[cell] = max(tat[cell], buckets[bucket + 3] or NEVER), true
  if motion == 'hold' then
    held[cell], asked[cell] = held[cell] + 1, asked[cell] + with
  elseif motion == 'spend' or motion == 'release' then
    held[cell], asked[cell] = max(held[cell] - 1, 0), max(asked[cell] - with, 0)
    if motion == 'spend' then spend(cell, bucket, at) end
  elseif motion == 'charge' then
    spend(cell, bucket, with or at)
  elseif motion == 'try' then
    if max(tat[cell], at) + buckets[bucket + 1] * (1 + held[cell] - buckets[bucket + 2]) <= at then
      spend(cell, bucket, at)
    else
      done[denied] = (bucket - 1) / 4
      denied = denied + 1
    end
  elseif motion == 'raise' then
    tat[cell] = max(tat[cell], with + buckets[bucket + 1] * (buckets[bucket + 2] - 1))
  end
end
if #moves + #writes + records + opens_epoch > 0 then
  sequence = sequence + 1
  local version = format('%.0f', sequence)
  local place = before + cells + 1
  -- First what may be refused: a record that is ahead of the marker.
  if records == 1 then
    call('XADD', KEYS[2], version .. '-0', 'at', at_text, 'realm', ARGV[place], 'body', ARGV[place + 1])
    place = place + 2
  end
  local kept = {}
  for cell = 1, cells do
    if changed[cell] then
      kept[#kept + 1] = ARGV[before + cell]
      if tat[cell] == NEVER then
        kept[#kept + 1] = format('- %d %d', held[cell], asked[cell])
      else
        kept[#kept + 1] = format('%.0f %d %d', tat[cell], held[cell], asked[cell])
      end
    end
  end
  write('HSET', KEYS[3], kept)
  -- A document is its name, unless that stands among those that the caller has to know, body, and lease.
  local texts, gone, leases, ended = {}, {}, {}, {}
  for index = 1, #writes, 2 do
    local written, among = writes[index], writes[index + 1]
    local name = among and ARGV[first + among - 1]
    if not name then name, place = ARGV[place], place + 1 end
    local body, lease = ARGV[place], ARGV[place + 1]
    place = place + 2
    if written == 1 then
      texts[#texts + 1] = name
      texts[#texts + 1] = version .. ' ' .. body
    else
      gone[#gone + 1] = name
    end
    if lease ~= '' then
      leases[#leases + 1] = lease
      leases[#leases + 1] = name
    elseif not absent[name] then
      ended[#ended + 1] = name
    end
  end
  write('HSET', KEYS[4], texts)
  write('HDEL', KEYS[4], gone)
  write('ZADD', KEYS[5], leases)
  write('ZREM', KEYS[5], ended)
  if opens_epoch > 0 then
    epoch = max(epoch + 1, math.floor(at / 1000000))
    call('HSET', KEYS[1], 'epoch', format('%.0f', epoch))
  end
  call('HSET', KEYS[1], 'sequence', version)
end
done[2], done[3], done[4] = at, epoch, sequence
return done
