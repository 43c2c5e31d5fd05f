#include "tokenizer/internal.h"

/* Printable characters of Latin-1 stand for themselves, the other bytes for U+0100 and up, in order. */
static bool stands_for_itself(uint32_t b)
{
    return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
}

uint32_t sc_byte_char(unsigned char b)
{
    if (stands_for_itself(b))
        return b;
    uint32_t c = 0x100;
    for (unsigned i = 0; i < b; i++)
        c += !stands_for_itself(i);
    return c;
}

int sc_char_byte(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    for (unsigned b = 0; b < 256; b++)
        if (!stands_for_itself(b) && c-- == 0x100)
            return (int)b;
    return -1;
}
