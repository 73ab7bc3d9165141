/* SCTP's checksum (RFC 9260 §6.8 and Appendix A) after the ports have changed. A CRC is linear: what changes
 * in the packet changes the checksum by the CRC of the change alone, and the change is four bytes, then
 * zeros. */
#ifndef THALWEG_CRC32C_H
#define THALWEG_CRC32C_H

#include <linux/types.h>

/* Polynomials over GF(2) modulo Castagnoli's, the lowest power in the highest bit. */
#define CASTAGNOLI 0x82f63b78u
#define X_TO_THE_8 0x00800000u

proved_alone __u32 product(__u32 one, __u32 other) {
  __u32 sum = 0;
  for (int i = 0; i < 32; ++i) { /* without branches: each would double what the verifier has to follow */
    sum ^= other & -(one >> 31);
    one <<= 1;
    other = other >> 1 ^ (CASTAGNOLI & -(other & 1));
  }
  return sum;
}

/* How the checksum of a packet of that many bytes (at most 65535) changes with its first four. */
proved_alone __u32 crc32c_change(__u32 change, __u32 bytes) {
  __u32 power = X_TO_THE_8;
  for (int i = 0; i < 16; ++i, bytes >>= 1) {
    const __u32 advanced = product(change, power);
    change = bytes & 1 ? advanced : change;
    power = product(power, power);
  }
  return change;
}

#endif
