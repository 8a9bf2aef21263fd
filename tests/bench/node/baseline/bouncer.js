// The count of slots in Redis, taken and given back by Lua scripts that run atomically.
import Redis from "ioredis";

const TAKE = `
local left = tonumber(redis.call('GET', KEYS[1]) or '-1')
if left < 0 then return -1 end
if left == 0 then return 0 end
redis.call('DECR', KEYS[1])
return 1`;

const GIVE_BACK = `
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
return redis.call('INCR', KEYS[1])`;

export function openBouncer() {
  const redis = new Redis({ path: process.env.REDIS_SOCKET, enableAutoPipelining: true, maxRetriesPerRequest: 1 });
  redis.defineCommand("takeSlot", { numberOfKeys: 1, lua: TAKE });
  redis.defineCommand("giveBackSlot", { numberOfKeys: 1, lua: GIVE_BACK });
  return redis;
}

export const countKey = (drop) => `{baseline:${drop.tier}:${drop.year}}`;
