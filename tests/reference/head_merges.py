"""What a merge of heads misses, by whole maps and plain loops over Python floats."""

from reference.squeeze_weights import combined, heads_of, inner, times


def missed(maps, written, shares, weights):
    """sum_t w_t | (sum_a s_a A_a) (sum_n X_n) - sum_n A_n X_n |_t^2"""
    ones = [1.0] * len(maps)
    merged = times(combined(shares, maps), combined(ones, written))
    target = combined(ones, [times(a, x) for a, x in zip(maps, written, strict=True)])
    error = combined([1.0, -1.0], [merged, target])
    return inner(error, error, weights)


def lost(query, key, value, out_proj, weights, *, groups, shares, mask, **settings):
    """Nested lists, `shares [B][H][k]`: own, equal, alone, each over the square of what is written."""
    own = equal = alone = whole = 0.0
    for b in range(len(query)):
        for head, group in enumerate(groups):
            k = len(group)
            if k < 2:
                continue
            sample = query[b], key[b], value[b], out_proj, weights[b]
            maps, written = heads_of(*sample, group=group, mask=mask[b], **settings)
            own += missed(maps, written, shares[b][head][:k], weights[b])
            equal += missed(maps, written, [1 / k] * k, weights[b])
            alone += (
                sum(missed(maps, written, [float(a == n) for n in range(k)], weights[b]) for a in range(k))
                / k
            )
            target = combined([1.0] * k, [times(a, x) for a, x in zip(maps, written, strict=True)])
            whole += inner(target, target, weights[b])
    return own / whole, equal / whole, alone / whole
