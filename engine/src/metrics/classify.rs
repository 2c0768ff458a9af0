//! Tells styles apart, to see whether a viewer could: linear discriminants over features of stretches of dance.

use nalgebra::{DMatrix, DVector};

/// What part of the pooled covariance is replaced by its diagonal: there are few stretches and many features.
const SHRINK: f64 = 0.3;

/// Linear discriminant analysis with one pooled, shrunk covariance and equal priors.
pub struct Classifier {
    mean: DVector<f64>,
    deviation: DVector<f64>,
    /// A row and a bias a class.
    weights: Vec<(DVector<f64>, f64)>,
}

impl Classifier {
    /// `rows` with their class, `0..classes`. `None` if a class has no rows or the features cannot tell anything.
    pub fn learn(rows: &[Vec<f32>], class: &[usize], classes: usize) -> Option<Self> {
        let (n, d) = (rows.len(), rows.first()?.len());
        let x = DMatrix::from_fn(n, d, |i, j| f64::from(rows[i][j]));
        let mean = x.row_mean().transpose();
        let deviation = DVector::from_fn(d, |j, _| (x.column(j).add_scalar(-mean[j]).norm_squared() / n as f64).sqrt().max(1e-6));
        let z = DMatrix::from_fn(n, d, |i, j| (x[(i, j)] - mean[j]) / deviation[j]);
        let mut means = vec![DVector::zeros(d); classes];
        let mut counts = vec![0usize; classes];
        for (i, &c) in class.iter().enumerate() {
            means[c] += z.row(i).transpose();
            counts[c] += 1;
        }
        if counts.contains(&0) {
            return None;
        }
        for (m, &c) in means.iter_mut().zip(&counts) {
            *m /= c as f64;
        }
        // Every class weighs the same, however long it was filmed.
        let mut pooled = DMatrix::zeros(d, d);
        for (i, &c) in class.iter().enumerate() {
            let e = z.row(i).transpose() - &means[c];
            pooled.ger(1.0 / (counts[c] * classes) as f64, &e, &e, 1.0);
        }
        let mut shrunk = &pooled * (1.0 - SHRINK);
        for j in 0..d {
            shrunk[(j, j)] += SHRINK * pooled[(j, j)] + 1e-3;
        }
        let solve = shrunk.cholesky()?;
        let weights = means.iter().map(|m| (solve.solve(m), m)).map(|(w, m)| { let bias = -0.5 * w.dot(m); (w, bias) }).collect();
        Some(Classifier { mean, deviation, weights })
    }

    /// The class of one row.
    pub fn tell(&self, row: &[f32]) -> usize {
        let z = DVector::from_fn(row.len(), |j, _| (f64::from(row[j]) - self.mean[j]) / self.deviation[j]);
        let score = |(w, b): &(DVector<f64>, f64)| w.dot(&z) + b;
        let best = self.weights.iter().enumerate().max_by(|a, b| score(a.1).total_cmp(&score(b.1)));
        best.map_or(0, |(i, _)| i)
    }
}
