//! How varied a set of dances is, and how far from another set: DIV and FID over features.
//!
//! Both sets are first normalised by the real dance's mean and deviation, as Bailando does.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Rows are stretches of dance, columns features.
#[derive(Clone, Debug)]
pub struct Normal {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Normal {
    pub fn of<const D: usize>(rows: &[[f32; D]]) -> Self {
        let n = rows.len().max(1) as f64;
        let mean: Vec<f64> = (0..D).map(|d| rows.iter().map(|r| f64::from(r[d])).sum::<f64>() / n).collect();
        let deviation = (0..D).map(|d| (rows.iter().map(|r| (f64::from(r[d]) - mean[d]).powi(2)).sum::<f64>() / n).sqrt()).collect();
        Normal { mean, deviation }
    }

    /// (rows, D); a feature that the real dance never varies is left out of the measure.
    pub fn apply<const D: usize>(&self, rows: &[[f32; D]]) -> DMatrix<f64> {
        DMatrix::from_fn(rows.len(), D, |i, d| if self.deviation[d] > 1e-6 { (f64::from(rows[i][d]) - self.mean[d]) / self.deviation[d] } else { 0.0 })
    }
}

/// Mean distance of every two rows; 0 for fewer than two.
pub fn diversity(rows: &DMatrix<f64>) -> f64 {
    let n = rows.nrows();
    if n < 2 {
        return 0.0;
    }
    let row: Vec<DVector<f64>> = rows.row_iter().map(|r| r.transpose()).collect();
    let sum: f64 = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| (&row[i] - &row[j]).norm()).sum();
    sum / (n * (n - 1) / 2) as f64
}

fn moments(rows: &DMatrix<f64>) -> (DVector<f64>, DMatrix<f64>) {
    let mean = rows.row_mean().transpose();
    let centred = DMatrix::from_fn(rows.nrows(), rows.ncols(), |i, j| rows[(i, j)] - mean[j]);
    let covariance = centred.transpose() * &centred / (rows.nrows().max(2) - 1) as f64;
    (mean, covariance)
}

/// The root of a symmetric positive matrix; what rounding made negative counts as nought.
fn root(m: &DMatrix<f64>) -> DMatrix<f64> {
    let e = SymmetricEigen::new(m.clone());
    let d = DMatrix::from_diagonal(&e.eigenvalues.map(|v| v.max(0.0).sqrt()));
    &e.eigenvectors * d * e.eigenvectors.transpose()
}

/// Fréchet distance of the normal distributions that fit the two sets: `|m1 - m2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2))`.
pub fn frechet(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let ((ma, sa), (mb, sb)) = (moments(a), moments(b));
    let r = root(&sa);
    let cross = SymmetricEigen::new(&r * &sb * &r).eigenvalues.iter().map(|v| v.max(0.0).sqrt()).sum::<f64>();
    (ma - mb).norm_squared() + sa.trace() + sb.trace() - 2.0 * cross
}
