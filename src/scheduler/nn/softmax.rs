//! Softmax over the actions that are allowed.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp, SimdUnaryOp};
use rten_vecmath::Exp;

/// Turns one row of logits into probabilities, and into their logarithms: over the actions whose
/// `mask` is 1, while those with 0 get probability and logarithm exactly 0, so that they add
/// nothing to any sum. With no action allowed all are 0. The four slices have one length.
///
/// Returns the entropy in nats.
///
/// # Panics
/// If the lengths differ.
pub fn masked_softmax(
    logits: &[f32],
    mask: &[f32],
    probabilities: &mut [f32],
    log_probabilities: &mut [f32],
) -> f32 {
    let n = logits.len();
    assert_eq!([mask.len(), probabilities.len(), log_probabilities.len()], [n; 3], "one length");
    MaskedSoftmax { logits, mask, probabilities, log_probabilities }.dispatch()
}

struct MaskedSoftmax<'a> {
    logits: &'a [f32],
    mask: &'a [f32],
    probabilities: &'a mut [f32],
    log_probabilities: &'a mut [f32],
}

impl SimdOp for MaskedSoftmax<'_> {
    type Output = f32;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> f32 {
        let ops = isa.f32();
        let lanes = ops.len();
        let lowest = ops.splat(f32::NEG_INFINITY);
        let rows = || self.logits.chunks(lanes).zip(self.mask.chunks(lanes));

        let mut highest = lowest;
        for (logits, mask) in rows() {
            let allowed = ops.gt(ops.load_pad(mask).0, ops.zero());
            let logits = ops.select(ops.load_pad(logits).0, lowest, allowed);
            highest = ops.max(logits, highest);
        }
        let highest = highest.to_array().into_iter().fold(f32::NEG_INFINITY, f32::max);
        if highest == f32::NEG_INFINITY {
            // Nothing is allowed, or all that is has a logit of minus infinity or NaN.
            let value = if self.mask.contains(&1.0) { f32::NAN } else { 0.0 };
            self.probabilities.fill(value);
            self.log_probabilities.fill(value);
            return value;
        }

        let shift = ops.splat(highest);
        let mut sums = ops.zero();
        let out = self.probabilities.chunks_mut(lanes);
        for ((logits, mask), out) in rows().zip(out) {
            let allowed = ops.gt(ops.load_pad(mask).0, ops.zero());
            let shifted = ops.sub(ops.load_pad(logits).0, shift);
            let weight = ops.select(Exp::apply(isa, shifted), ops.zero(), allowed);
            sums = ops.add(sums, weight);
            store::<I>(isa, weight, out);
        }
        let sum = ops.sum(sums);

        let (inverse, ln_sum) = (ops.splat(1.0 / sum), ops.splat(highest + sum.ln()));
        let mut entropies = ops.zero();
        let out =
            self.probabilities.chunks_mut(lanes).zip(self.log_probabilities.chunks_mut(lanes));
        for ((logits, mask), (probabilities, logs)) in rows().zip(out) {
            let allowed = ops.gt(ops.load_pad(mask).0, ops.zero());
            let p = ops.mul(ops.load_pad(probabilities).0, inverse);
            let log = ops.sub(ops.load_pad(logits).0, ln_sum);
            let log = ops.select(log, ops.zero(), allowed);
            entropies = ops.mul_add(p, log, entropies);
            store::<I>(isa, p, probabilities);
            store::<I>(isa, log, logs);
        }
        -ops.sum(entropies)
    }
}

/// Stores as many lanes as `out` has room for.
#[inline(always)]
fn store<I: Isa>(isa: I, x: I::F32, out: &mut [f32]) {
    let ops = isa.f32();
    match out.len() == ops.len() {
        true => ops.store(x, out),
        false => out.copy_from_slice(&x.to_array().as_ref()[..out.len()]),
    }
}
