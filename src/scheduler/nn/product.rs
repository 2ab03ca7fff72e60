//! The matrix product behind every layer.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp};

/// Rows of the result that are computed together. With two vectors of columns that is twelve
/// accumulators: enough independent sums to keep the multipliers busy, and few enough for the
/// sixteen registers of AVX2.
const BLOCK: usize = 6;

/// The left matrix of a product, rows × inner.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// Stored row by row.
    Rows(&'a [f32]),
    /// Stored column by column, that is, as its transpose.
    Columns(&'a [f32]),
}

/// `out = left · right (+ bias)`, and what is below zero becomes zero if `relu`; NaN stays NaN, so
/// that a fault in a hidden layer is seen in the outputs.
pub(super) struct Product<'a> {
    pub left: Left<'a>,
    /// inner × columns, row by row.
    pub right: &'a [f32],
    /// One for each column.
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// rows × columns, row by row.
    pub out: &'a mut [f32],
    pub inner: usize,
    pub columns: usize,
}

impl Product<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub(super) fn compute(self) {
        let rows = self.out.len() / self.columns;
        let (Left::Rows(left) | Left::Columns(left)) = self.left;
        assert_eq!(self.out.len(), rows * self.columns, "whole rows");
        assert_eq!(left.len(), rows * self.inner, "the left matrix");
        assert_eq!(self.right.len(), self.inner * self.columns, "the right matrix");
        assert!(self.bias.is_none_or(|bias| bias.len() == self.columns), "the bias");
        self.dispatch();
    }

    #[inline(always)]
    fn rows<I: Isa, const R: usize>(&mut self, isa: I, row: usize) {
        let inner = self.inner;
        match self.left {
            Left::Rows(left) => {
                let rows: [&[f32]; R] =
                    std::array::from_fn(|r| &left[(row + r) * inner..][..inner]);
                let read = |k: usize| std::array::from_fn(|r| rows[r][k]);
                self.columns::<I, R>(isa, row, read);
            }
            Left::Columns(left) => {
                let height = left.len() / inner.max(1);
                let read = |k: usize| {
                    let column = &left[k * height + row..][..R];
                    std::array::from_fn(|r| column[r])
                };
                self.columns::<I, R>(isa, row, read);
            }
        }
    }

    /// `R` rows of the result; `read(k)` is the left matrix at `k` in each of them.
    #[inline(always)]
    fn columns<I: Isa, const R: usize>(
        &mut self,
        isa: I,
        row: usize,
        read: impl Fn(usize) -> [f32; R] + Copy,
    ) {
        let lanes = isa.f32().len();
        let mut column = 0;
        while column + 2 * lanes <= self.columns {
            self.tile::<I, R, 2>(isa, row, column, read);
            column += 2 * lanes;
        }
        if column + lanes <= self.columns {
            self.tile::<I, R, 1>(isa, row, column, read);
            column += lanes;
        }
        if column < self.columns {
            self.edge::<I, R>(isa, row, column, read);
        }
    }

    /// `R` rows and `V` whole vectors of columns.
    #[inline(always)]
    fn tile<I: Isa, const R: usize, const V: usize>(
        &mut self,
        isa: I,
        row: usize,
        column: usize,
        read: impl Fn(usize) -> [f32; R],
    ) {
        let ops = isa.f32();
        let width = V * ops.len();
        let bias = self.bias.map(|bias| ops.load_many::<V>(&bias[column..][..width]));
        let mut sums = [bias.unwrap_or([ops.zero(); V]); R];
        for k in 0..self.inner {
            let right = ops.load_many::<V>(&self.right[k * self.columns + column..][..width]);
            let left = read(k);
            for r in 0..R {
                let x = ops.splat(left[r]);
                for v in 0..V {
                    sums[r][v] = ops.mul_add(x, right[v], sums[r][v]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let out = &mut self.out[(row + r) * self.columns + column..][..width];
            for (out, sum) in out.chunks_exact_mut(ops.len()).zip(sums) {
                ops.store(if self.relu { ops.max(ops.zero(), sum) } else { sum }, out);
            }
        }
    }

    /// `R` rows and the last columns, fewer than a vector of them.
    #[inline(always)]
    fn edge<I: Isa, const R: usize>(
        &mut self,
        isa: I,
        row: usize,
        column: usize,
        read: impl Fn(usize) -> [f32; R],
    ) {
        let ops = isa.f32();
        let width = self.columns - column;
        let bias = self.bias.map(|bias| ops.load_pad(&bias[column..]).0);
        let mut sums = [bias.unwrap_or(ops.zero()); R];
        for k in 0..self.inner {
            let (right, _) = ops.load_pad(&self.right[k * self.columns + column..][..width]);
            let left = read(k);
            for r in 0..R {
                sums[r] = ops.mul_add(ops.splat(left[r]), right, sums[r]);
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            let sum = if self.relu { ops.max(ops.zero(), sum) } else { sum };
            let out = &mut self.out[(row + r) * self.columns + column..][..width];
            out.copy_from_slice(&sum.to_array().as_ref()[..width]);
        }
    }
}

impl SimdOp for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        let rows = self.out.len() / self.columns;
        let full = rows - rows % BLOCK;
        for row in (0..full).step_by(BLOCK) {
            self.rows::<I, BLOCK>(isa, row);
        }
        match rows - full {
            0 => {}
            1 => self.rows::<I, 1>(isa, full),
            2 => self.rows::<I, 2>(isa, full),
            3 => self.rows::<I, 3>(isa, full),
            4 => self.rows::<I, 4>(isa, full),
            _ => self.rows::<I, 5>(isa, full),
        }
    }
}
